package distributortest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/grafana/dskit/user"

	"example.com/loki/distributor"
	"example.com/loki/ingester"
	"example.com/loki/limits"
)

// World is a service under test and the store behind it.
type World struct {
	Service distributor.Service
	Store   *Store
}

// Contract runs the tests of a distributor.Service. open returns a new service with limits and an empty
// store behind it.
func Contract(t *testing.T, open func(t *testing.T, l limits.Limits) World) {
	now := time.Now().UnixNano()
	entry := func(t int64, line string, metadata ...string) ingester.Entry {
		e := ingester.Entry{Time: t, Line: []byte(line)}
		for i := 0; i < len(metadata); i += 2 {
			e.Metadata = append(e.Metadata, ingester.Field{Name: metadata[i], Value: []byte(metadata[i+1])})
		}
		return e
	}
	push := func(w World, tenant string, streams ...distributor.Stream) error {
		return w.Service.Push(user.InjectOrgID(context.Background(), tenant), &distributor.PushRequest{Streams: streams})
	}
	stored := func(t *testing.T, w World, tenant string, want ...string) {
		t.Helper()
		slices.Sort(want)
		if got := w.Store.Lines(tenant); !slices.Equal(got, want) {
			t.Errorf("stored\n%q, want\n%q", got, want)
		}
	}

	t.Run("labels as text and as set are the same", func(t *testing.T) {
		w := open(t, limits.Default())
		for _, s := range []distributor.Stream{
			{Text: `{b="2", a="1"}`},
			{Labels: distributor.LabelSet{{Name: "b", Value: "2"}, {Name: "empty"}, {Name: "a", Value: "0"}, {Name: "a", Value: "1"}}},
		} {
			s.Entries = []ingester.Entry{entry(now, "x")}
			if err := push(w, "t", s); err != nil {
				t.Fatal(err)
			}
		}
		line := fmt.Sprintf(`{a="1", b="2", service_name="unknown_service"} %d "x" detected_level="unknown"`, now)
		stored(t, w, "t", line, line)
		if s := w.Store.Streams("t"); s[0].Hash != s[1].Hash {
			t.Errorf("hashes %x and %x of the same labels differ", s[0].Hash, s[1].Hash)
		}
	})

	t.Run("equal streams of a push are merged", func(t *testing.T) {
		w := open(t, limits.Default())
		if err := push(w, "t",
			distributor.Stream{Text: `{a="1"}`, Entries: []ingester.Entry{entry(now, "x")}},
			distributor.Stream{Text: `{a="2"}`, Entries: []ingester.Entry{entry(now, "y")}},
			distributor.Stream{Text: `{a="\u0031"}`, Entries: []ingester.Entry{entry(now, "z")}},
		); err != nil {
			t.Fatal(err)
		}
		if n := len(w.Store.Streams("t")); n != 2 {
			t.Errorf("%d streams, want 2", n)
		}
	})

	t.Run("tenants are apart", func(t *testing.T) {
		w := open(t, limits.Default())
		s := distributor.Stream{Text: `{service_name="s"}`, Entries: []ingester.Entry{entry(now, "x")}}
		if err := push(w, "t1", s); err != nil {
			t.Fatal(err)
		}
		stored(t, w, "t1", fmt.Sprintf(`{service_name="s"} %d "x" detected_level="unknown"`, now))
		stored(t, w, "t2")
		if err := w.Service.Push(context.Background(), &distributor.PushRequest{Streams: []distributor.Stream{s}}); err == nil {
			t.Error("a push without a tenant succeeds")
		}
	})

	t.Run("good entries are stored beside bad ones", func(t *testing.T) {
		w := open(t, limits.Default())
		err := push(w, "t",
			distributor.Stream{Text: `{a="1"}`, Entries: []ingester.Entry{entry(now, "good"), entry(now+int64(time.Hour), "new"), entry(1, "old"), entry(2, "old")}},
			distributor.Stream{Labels: many(16), Entries: []ingester.Entry{entry(now, "bad")}},
		)
		var refused *distributor.PushError
		if !errors.Is(err, distributor.ErrRefused) || !errors.As(err, &refused) {
			t.Fatalf("got %v", err)
		}
		if errors.Is(err, distributor.ErrRateLimited) {
			t.Error("the error claims that pushing again may help")
		}
		if refused.Tenant != "t" || refused.Stored != 1 || refused.Refused != 4 || len(refused.Refusals) != 3 {
			t.Errorf("got %+v", refused)
		}
		for i, want := range []distributor.Refusal{{Reason: distributor.TooNew, Entries: 1}, {Reason: distributor.TooOld, Entries: 2}, {Reason: distributor.TooManyLabels, Entries: 1}} {
			if i < len(refused.Refusals) && (refused.Refusals[i].Reason != want.Reason || refused.Refusals[i].Entries != want.Entries) {
				t.Errorf("refusal %d is %+v, want %+v", i, refused.Refusals[i], want)
			}
		}
		stored(t, w, "t", fmt.Sprintf(`{a="1", service_name="unknown_service"} %d "good" detected_level="unknown"`, now))
	})

	t.Run("malformed labels refuse everything", func(t *testing.T) {
		w := open(t, limits.Default())
		for _, bad := range []distributor.Stream{
			{Text: `{a=1}`}, {Text: ``}, {Text: "{a=\"\xff\"}"},
			{Labels: distributor.LabelSet{{Name: "a-b", Value: "1"}}}, {Labels: distributor.LabelSet{{Name: "", Value: "1"}}},
			{Labels: distributor.LabelSet{{Name: "a", Value: "\xff"}}},
		} {
			err := push(w, "t", distributor.Stream{Text: `{a="1"}`, Entries: []ingester.Entry{entry(now, "good")}}, bad)
			var malformed *distributor.LabelsError
			if !errors.Is(err, distributor.ErrLabels) || !errors.As(err, &malformed) || malformed.Stream != 1 {
				t.Errorf("%q: %v", bad.Text, err)
			}
		}
		stored(t, w, "t")
	})

	t.Run("no streams and no entries", func(t *testing.T) {
		w := open(t, limits.Default())
		if err := push(w, "t"); !errors.Is(err, distributor.ErrNoStreams) {
			t.Errorf("no streams: %v", err)
		}
		if err := push(w, "t", distributor.Stream{Text: `{a="1"}`}); err != nil {
			t.Errorf("no entries: %v", err)
		}
		stored(t, w, "t")
	})

	t.Run("metadata is cleaned and enriched", func(t *testing.T) {
		w := open(t, limits.Default())
		if err := push(w, "t", distributor.Stream{Text: `{app="a"}`, Entries: []ingester.Entry{
			entry(now, "x", "z.z", "1", "app", "2", "9", "3", "b", "", "z_z", "4", "é", "5", "bad", "\xff"),
			entry(now+1, "ERROR x", "level", "warning"),
			entry(now+2, `{"level":"fatal"}`),
			entry(now+3, `x`, "detected_level", "mine"),
		}}); err != nil {
			t.Fatal(err)
		}
		stored(t, w, "t",
			fmt.Sprintf(`{app="a", service_name="a"} %d "x" _="5" _9="3" app_extracted="2" bad="%s" detected_level="unknown" z_z="4"`, now, "\uFFFD"),
			fmt.Sprintf(`{app="a", service_name="a"} %d "ERROR x" detected_level="warn" level="warning"`, now+1),
			fmt.Sprintf(`{app="a", service_name="a"} %d "{\"level\":\"fatal\"}" detected_level="fatal"`, now+2),
			fmt.Sprintf(`{app="a", service_name="a"} %d "x" detected_level="mine"`, now+3))
	})

	t.Run("the rate of a tenant", func(t *testing.T) {
		l := limits.Default()
		l.IngestionRateMB, l.IngestionBurstSizeMB = 1e-6, 100.0/(1<<20)
		w := open(t, l)
		s := distributor.Stream{Text: `{a="1"}`, Entries: []ingester.Entry{entry(now, string(make([]byte, 60)))}}
		if err := push(w, "t", s); err != nil {
			t.Fatal(err)
		}
		err := push(w, "t", s)
		var limited *distributor.RateLimitError
		if !errors.Is(err, distributor.ErrRateLimited) || !errors.As(err, &limited) || limited.Tenant != "t" || limited.Bytes != 60 || limited.Lines != 1 || limited.Burst != 100 {
			t.Errorf("got %v", err)
		}
		if n := len(w.Store.Lines("t")); n != 1 {
			t.Errorf("%d entries stored, want 1", n)
		}
		if err := push(w, "other", s); err != nil {
			t.Errorf("another tenant: %v", err)
		}
	})

	t.Run("the rate of a stream", func(t *testing.T) {
		l := limits.Default()
		l.PerStreamRateLimit, l.PerStreamRateLimitBurst = 1, 100
		w := open(t, l)
		loud := distributor.Stream{Text: `{a="loud"}`, Entries: []ingester.Entry{entry(now, string(make([]byte, 60)))}}
		quiet := distributor.Stream{Text: `{a="quiet"}`, Entries: []ingester.Entry{entry(now, "x")}}
		if err := push(w, "t", loud); err != nil {
			t.Fatal(err)
		}
		err := push(w, "t", loud, quiet)
		var refused *distributor.PushError
		if !errors.Is(err, distributor.ErrRateLimited) || !errors.As(err, &refused) || refused.Stored != 1 || refused.Refused != 1 ||
			refused.Refusals[0].Reason != distributor.PerStreamRateLimit {
			t.Errorf("got %v", err)
		}
		if n := len(w.Store.Lines("t")); n != 2 {
			t.Errorf("%d entries stored, want 2", n)
		}
	})

	t.Run("the store fails", func(t *testing.T) {
		w := open(t, limits.Default())
		s := distributor.Stream{Text: `{a="1"}`, Entries: []ingester.Entry{entry(now, "x")}}
		for _, want := range []error{ingester.ErrDiskFull, ingester.ErrNotReady} {
			w.Store.Fail(want)
			if err := push(w, "t", s); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		}
		w.Store.Fail(nil)
		if err := push(w, "t", s); err != nil {
			t.Error(err)
		}
	})

	t.Run("pushes at once", func(t *testing.T) {
		w := open(t, limits.Default())
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for j := range 50 {
					s := distributor.Stream{
						Labels:  distributor.LabelSet{{Name: "a", Value: fmt.Sprint(j % 10)}},
						Entries: []ingester.Entry{entry(now+int64(i*50+j), "x", "k.k", fmt.Sprint(i))},
					}
					if err := push(w, fmt.Sprint("t", i%2), s); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		for _, tenant := range []string{"t0", "t1"} {
			if n := len(slices.Compact(w.Store.Lines(tenant))); n != 200 {
				t.Errorf("%d different entries of %s stored, want 200", n, tenant)
			}
		}
	})
}

// many returns n labels.
func many(n int) (set distributor.LabelSet) {
	for i := range n {
		set = append(set, distributor.Label{Name: fmt.Sprintf("l%02d", i), Value: "x"})
	}
	return set
}
