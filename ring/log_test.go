package ring

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log/level"
	dsring "github.com/grafana/dskit/ring"
)

func TestKitLogger(t *testing.T) {
	var b bytes.Buffer
	l := kitLogger{slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelInfo}))}
	level.Debug(l).Log("msg", "hidden")
	level.Warn(l).Log("msg", "a b", "err", context.Canceled, "odd")
	if got := b.String(); strings.Contains(got, "hidden") || !strings.Contains(got, `level=WARN msg="a b" err="context canceled" odd=(MISSING)`) {
		t.Errorf("log: %s", got)
	}
}

// TestReword shows that what is said of a start is not said of what goes on later.
func TestReword(t *testing.T) {
	for _, tt := range []struct {
		at    slog.Level
		msg   string
		phase string
		want  slog.Level
		same  bool
	}{
		{slog.LevelWarn, "joining memberlist cluster", "startup", slog.LevelInfo, false},
		{slog.LevelWarn, "joining memberlist cluster", "periodic_rejoin", slog.LevelWarn, true},
		{slog.LevelInfo, "joining memberlist cluster", "startup", slog.LevelInfo, true},
		{slog.LevelError, "joining memberlist cluster failed", "startup", slog.LevelWarn, false},
		{slog.LevelInfo, "re-joined memberlist cluster", "periodic_rejoin", slog.LevelDebug, true},
		{slog.LevelError, "failed to decode received value, unknown codec", "", slog.LevelError, true},
	} {
		at, msg := reword(tt.at, tt.msg, tt.phase)
		if at != tt.want || msg == tt.msg != tt.same {
			t.Errorf("reword(%v, %q, %q) = %v, %q", tt.at, tt.msg, tt.phase, at, msg)
		}
	}
}

func TestRejoinInterval(t *testing.T) {
	for _, tt := range []struct {
		join []string
		set  time.Duration
		want time.Duration
	}{
		{[]string{"a:7946"}, 0, 10 * time.Second},
		{[]string{"a:7946", "b:7946"}, 0, 30 * time.Second},
		{[]string{"dns+a:7946"}, 0, 30 * time.Second},
		{[]string{"a:7946"}, time.Minute, time.Minute},
	} {
		c, err := Config{Join: tt.join, RejoinInterval: tt.set}.check()
		if err != nil || c.RejoinInterval != tt.want {
			t.Errorf("Join %q, RejoinInterval %s: %s, %v, want %s", tt.join, tt.set, c.RejoinInterval, err, tt.want)
		}
	}
}

func TestLocalStore(t *testing.T) {
	s := newLocalStore()
	add := func(id string) {
		t.Helper()
		err := s.CAS(t.Context(), "k", func(in any) (any, bool, error) {
			d := dsring.GetOrCreateRingDesc(in)
			d.AddIngester(id, id, "", nil, dsring.ACTIVE, time.Now(), false, time.Time{})
			return d, true, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	add("a")
	seen := make(chan int)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.WatchKey(ctx, "k", func(v any) bool { seen <- len(v.(*dsring.Desc).Ingesters); return true })
	}()
	if n := <-seen; n != 1 {
		t.Errorf("watch begins with %d instances", n)
	}
	add("b")
	if n := <-seen; n != 2 {
		t.Errorf("watch goes on with %d instances", n)
	}
	cancel()
	<-done
	v, _ := s.Get(t.Context(), "k")
	delete(v.(*dsring.Desc).Ingesters, "a") // a copy
	if v, _ = s.Get(t.Context(), "k"); len(v.(*dsring.Desc).Ingesters) != 2 {
		t.Error("the store hands out what it keeps")
	}
	if keys, _ := s.List(t.Context(), ""); len(keys) != 1 {
		t.Errorf("keys %q", keys)
	}
}
