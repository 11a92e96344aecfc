package ingester

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/klauspost/compress/s2"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/ingester/internal/logfile"
	"example.com/loki/internal/bench/yardstick"
	"example.com/loki/store"
)

// fillLog writes a log of many files and returns the rows.
func fillLog(t *testing.T, cfg Config, st store.Service) []string {
	t.Helper()
	i, err := tryStart(t, cfg, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 200 {
		line := fmt.Sprintf("%d %x %x %x", n, rand.Uint64(), rand.Uint64(), rand.Uint64())
		push(t, i, "a", stream1(ls("app", fmt.Sprint(n%5)), entry(int64(n), line, "level", "info", "n", fmt.Sprint(n%7))))
	}
	rows := read(t, tenantCtx(t, "a"), i, everything())
	stop(t, i)
	return rows
}

// TestDamagedLog damages a byte in the middle of the log and expects nearly everything back, and to be told.
func TestDamagedLog(t *testing.T) {
	for round := range 10 {
		st := newMemStore()
		cfg := Config{Dir: t.TempDir(), Sync: SyncNever, WALFileSize: 2 << 10}
		rows := fillLog(t, cfg, st)
		files, err := logfile.List(cfg.Dir)
		if err != nil || len(files) < 5 {
			t.Fatalf("%d files, %v", len(files), err)
		}
		path := logfile.Name(cfg.Dir, files[rand.IntN(len(files)-1)].Index)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b[rand.IntN(len(b))] ^= 0xff
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		i, err := tryStart(t, cfg, st, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := read(t, tenantCtx(t, "a"), i, everything())
		for _, r := range got {
			if !slices.Contains(rows, r) {
				t.Errorf("round %d: row that was never pushed: %s", round, r)
			}
		}
		damages := testutil.ToFloat64(i.metrics.walCorruptions.WithLabelValues(damageFile)) +
			testutil.ToFloat64(i.metrics.walCorruptions.WithLabelValues(damageRecord))
		most := 2 * len(rows) / len(files) // a file's rows: all of it may hang on the names at its start
		if lost := len(rows) - len(got); lost == 0 || damages == 0 || lost > most {
			t.Errorf("round %d: lost %d of %d rows, %v damages counted", round, lost, len(rows), damages)
		}
		// What comes now must not be confused with what was lost.
		push(t, i, "a", stream1(ls("app", "0"), entry(1000, "new", "level", "warn", "fresh", "x")))
		after := read(t, tenantCtx(t, "a"), i, everything("app=0"))
		if last := after[len(after)-1]; last != `{app="0"} 1000 new fresh=x level=warn` {
			t.Errorf("new row: %s", last)
		}
		stop(t, i)
	}
}

// TestTornLog cuts the last file at any place: all but the last record come back, and writing goes on.
func TestTornLog(t *testing.T) {
	st := newMemStore()
	cfg := Config{Dir: t.TempDir(), Sync: SyncNever}
	rows := fillLog(t, cfg, st)
	path := logfile.Name(cfg.Dir, 0)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := len(good) - 1; n > 0; n -= 1 + rand.IntN(400) {
		dir := t.TempDir()
		if err := os.WriteFile(logfile.Name(dir, 0), good[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			i, err := tryStart(t, Config{Dir: dir, Sync: SyncNever}, st, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := read(t, tenantCtx(t, "a"), i, everything())
			if want := len(rows) * n / len(good); len(got) < want-5 {
				t.Errorf("cut at %d: %d rows, want about %d", n, len(got), want)
			}
			if c := testutil.ToFloat64(i.metrics.walCorruptions.WithLabelValues(damageFile)); c != 0 {
				t.Errorf("cut at %d: a torn end was counted as damage", n)
			}
			stop(t, i)
		}
	}
}

// TestReplayBound replays more than may be in memory: parts that are whole are cut on the way.
func TestReplayBound(t *testing.T) {
	st := newMemStore()
	st.fail(errors.New("store is away"))
	dir := t.TempDir()
	i, err := tryStart(t, Config{Dir: dir, Sync: SyncNever, SegmentTarget: 20 << 10, WALFileSize: 4 << 10}, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := tenantCtx(t, "a")
	n := 0
	for ; n < 400; n++ {
		push(t, i, "a", stream1(ls("app", fmt.Sprint(n%5)), entry(int64(n), fmt.Sprintf("%0500d", n))))
	}
	held := i.memory.Load()
	stop(t, i)

	st.fail(nil)
	var most atomic.Int64
	counting := &hookStore{memStore: st}
	i, err = New(Config{Dir: dir, MaxHeadBytes: held / 3, CheckEvery: time.Hour}, counting, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	counting.onPut = func() {
		if i.State() == services.Starting {
			most.Store(max(most.Load(), i.memory.Load()))
		}
	}
	if err := services.StartAndAwaitRunning(context.Background(), i); err != nil {
		t.Fatal(err)
	}
	if m := most.Load(); m == 0 || m > held/3+held/5 {
		t.Errorf("at most %d bytes were held of %d, the bound is %d", m, held, held/3)
	}
	got, err := readAll(ctx, i, st, 0)
	if err != nil || len(got) != n {
		t.Errorf("%d rows, %v; want %d", len(got), err, n)
	}
	stop(t, i)
}

type hookStore struct {
	*memStore
	onPut func()
}

func (s *hookStore) Put(ctx context.Context, id ulid.ULID, rows store.Rows) (store.SegmentInfo, error) {
	s.onPut()
	return s.memStore.Put(ctx, id, rows)
}

// slowStore blocks Exists, which holds up a replay.
type slowStore struct {
	*memStore
	asked, goOn chan struct{}
}

func (s *slowStore) Exists(ctx context.Context, _ ulid.ULID) (bool, error) {
	close(s.asked)
	select {
	case <-s.goOn:
		return false, errors.New("bucket is away")
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func TestNotReadyWhileReplaying(t *testing.T) {
	st := newMemStore()
	cfg := Config{Dir: t.TempDir(), Sync: SyncNever}
	rows := fillLog(t, cfg, st)
	slow := &slowStore{st, make(chan struct{}), make(chan struct{})}
	i, err := New(cfg, slow, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Push(tenantCtx(t, "a"), &PushRequest{}); !errors.Is(err, ErrNotReady) {
		t.Errorf("push before the start: %v", err)
	}
	if err := i.StartAsync(context.Background()); err != nil {
		t.Fatal(err)
	}
	<-slow.asked
	for _, err := range []error{
		i.Push(tenantCtx(t, "a"), &PushRequest{}),
		func() error { _, err := tryRead(tenantCtx(t, "a"), i, everything()); return err }(),
		i.Flush(t.Context(), ""),
	} {
		if !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), "replaying the write-ahead log: 0%") {
			t.Errorf("while replaying: %v", err)
		}
	}
	close(slow.goOn)
	if err := i.AwaitRunning(t.Context()); err != nil {
		t.Fatal(err)
	}
	want(t, read(t, tenantCtx(t, "a"), i, everything()), rows...)
	stop(t, i)

	// A stop ends a replay.
	slow = &slowStore{st, make(chan struct{}), make(chan struct{})}
	if i, err = New(cfg, slow, nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := i.StartAsync(context.Background()); err != nil {
		t.Fatal(err)
	}
	<-slow.asked
	i.StopAsync()
	_ = i.AwaitTerminated(t.Context())
	i = start(t, cfg, st) // the folder is free again
	want(t, read(t, tenantCtx(t, "a"), i, everything()), rows...)
}

// TestLogFilesGo checks that files are deleted when no part needs them, and that a long log makes the oldest
// parts be cut.
func TestLogFilesGo(t *testing.T) {
	st := newMemStore()
	cfg := Config{Dir: t.TempDir(), Sync: SyncNever, WALFileSize: 4 << 10, WALTarget: 32 << 10, CheckEvery: time.Hour}
	i := start(t, cfg, st)
	push(t, i, "quiet", stream1(ls("a", "b"), entry(1, "x")))
	for n := range 300 {
		push(t, i, "loud", stream1(ls("a", "b"), entry(int64(n), fmt.Sprintf("%x %x %x %x", rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64()), "id", fmt.Sprint(rand.Uint64()))))
	}
	awaitCounter(t, i, reasonLog, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for i.walSize.Load() > cfg.WALTarget+2*cfg.WALFileSize {
		if ctx.Err() != nil {
			t.Fatalf("log has %d bytes, the target is %d", i.walSize.Load(), cfg.WALTarget)
		}
		push(t, i, "loud", stream1(ls("a", "b"), entry(1000, "x")))
	}
}

func TestRecordRoundTrip(t *testing.T) {
	random := make([]byte, 100_000)
	r := rand.New(rand.NewPCG(1, 2))
	for n := range random {
		random[n] = byte(r.IntN(256))
	}
	text := make([]byte, 0, 1<<20)
	for n := range 10_000 {
		text = fmt.Appendf(text, "log line %d: %d bytes from %d\n", n, r.IntN(1000), r.IntN(10))
	}
	parts := []partName{{ulid.Make(), "a"}, {ulid.Make(), "tenant-b"}}
	for _, c := range []struct {
		with    Compression
		payload []byte
		codec   byte
	}{
		{CompressS2, nil, codecNone},
		{CompressS2, []byte("x"), codecNone},
		{CompressS2, text, codecS2},
		{CompressS2, random, codecNone},
		{CompressS2, bytes.Repeat([]byte("log line\n"), 100_000), codecZstd}, // beyond maxS2Ratio
		{CompressZstd, nil, codecNone},
		{CompressZstd, text, codecZstd},
		{CompressZstd, random, codecNone},
		{CompressNone, nil, codecNone},
		{CompressNone, text, codecNone},
	} {
		cd, err := newCodec(c.with)
		if err != nil {
			t.Fatal(err)
		}
		rec, err := parseRecord(cd.appendRecord([]byte("before"), parts, c.payload)[len("before"):])
		if err != nil || !slices.Equal(rec.parts, parts) {
			t.Fatalf("%v: parts %v, %v", c.with, rec.parts, err)
		}
		if rec.codec != c.codec {
			t.Errorf("%v: payload of %d bytes is written with codec %d, want %d", c.with, len(c.payload), rec.codec, c.codec)
		}
		got, err := cd.payload(rec)
		if err != nil || !bytes.Equal(got, c.payload) {
			t.Errorf("%v: %d bytes of payload come back as %d, %v", c.with, len(c.payload), len(got), err)
		}
		cd.close()
	}
	if _, err := parseRecord([]byte{2, 0, 0, 0}); err == nil || !strings.Contains(err.Error(), "version") {
		t.Errorf("unknown version: %v", err)
	}
}

// TestRecordClaims gives records that claim to be larger than they are: they are refused, and make nobody allocate.
func TestRecordClaims(t *testing.T) {
	c, err := newCodec(CompressS2)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	zeros := s2.Encode(nil, make([]byte, maxPayload))
	for name, r := range map[string]record{
		"none":             {codec: codecNone, raw: 10, data: []byte("123456789")},
		"unknown":          {codec: 9, raw: 1, data: []byte("1")},
		"s2 beyond ratio":  {codec: codecS2, raw: maxPayload, data: zeros},
		"s2 other length":  {codec: codecS2, raw: 11, data: s2.Encode(nil, []byte("0123456789"))},
		"s2 damaged":       {codec: codecS2, raw: 4, data: []byte{4, 0xff, 0xff, 0xff}},
		"s2 empty":         {codec: codecS2, raw: 4},
		"zstd other claim": {codec: codecZstd, raw: 1 << 20, data: c.enc.EncodeAll([]byte("0123456789"), nil)},
		"zstd damaged":     {codec: codecZstd, raw: 4, data: []byte("none")},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if p, err := c.payload(r); err == nil {
			t.Errorf("%s: %d bytes", name, len(p))
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
			t.Errorf("%s: %d bytes allocated", name, n)
		}
	}
}

// countingHandler counts what it is given and checks that rows lie within the payload.
type countingHandler struct {
	t    *testing.T
	rows int
}

func (h *countingHandler) part(n int) (bool, error)           { return n < 4, nil }
func (h *countingHandler) stream(uint32, labels.Labels) error { return nil }
func (h *countingHandler) name(uint32, string) error          { return nil }
func (h *countingHandler) entries(payload []byte, e *entries) error {
	n := 0
	for _, sp := range e.spans {
		n += sp.n
	}
	if n != len(e.rows) {
		h.t.Errorf("%d rows in spans, %d rows", n, len(e.rows))
	}
	for i := range e.rows {
		_ = line(e.rows[i], [][]byte{payload})
		if m := e.rows[i].meta; m != 0 {
			for range setFields(payload[m:]) {
			}
			_ = metaSet(e.rows[i], [][]byte{payload})
		}
	}
	h.rows += n
	return nil
}

func FuzzRecord(f *testing.F) {
	c, err := newCodec(CompressS2)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(c.close)
	for _, with := range goldenCompressions {
		dir := f.TempDir()
		i, err := tryStart(f, Config{Dir: dir, Sync: SyncNever, WALCompression: with}, newMemStore(), nil)
		if err != nil {
			f.Fatal(err)
		}
		for n := range 5 {
			push(f, i, "a", stream1(ls("a", "b", "c", fmt.Sprint(n)), entry(int64(n), "line", "x", "y"), entry(3, "", "x", "z", "w", ""), entry(-5, "l")))
		}
		push(f, i, "a", stream1(ls("a", "b"), entry(1, strings.Repeat("the same again ", 20))))
		stop(f, i)
		_, _, err = logfile.Read(logfile.Name(dir, 0), func(rec []byte, _ int64) error {
			f.Add(bytes.Clone(rec), false)
			r, err := parseRecord(rec)
			if err != nil {
				return err
			}
			p, err := c.payload(r)
			f.Add(p, true)
			return err
		}, nil)
		if err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, payload bool) {
		if !payload {
			r, err := parseRecord(b)
			if err != nil {
				return
			}
			if b, err = c.payload(r); err != nil {
				return
			}
		}
		var e entries
		h := &countingHandler{t: t}
		if err := parsePayload(b, &e, h); err == nil && h.rows > len(b) {
			t.Errorf("%d rows from %d bytes", h.rows, len(b))
		}
	})
}

func BenchmarkReplay(b *testing.B) {
	for _, streams := range []int{1, 5000} {
		b.Run(fmt.Sprintf("streams=%d", streams), func(b *testing.B) {
			dir, st := b.TempDir(), newMemStore()
			i, err := tryStart(b, Config{Dir: dir, Sync: SyncNever}, st, nil)
			if err != nil {
				b.Fatal(err)
			}
			r := rand.New(rand.NewPCG(1, 2))
			at, total := int64(1), int64(0)
			for range 40 {
				req, size := benchPush(r, streams, 5000, &at)
				push(b, i, "a", req.Streams...)
				total += size
			}
			stop(b, i)
			yardstick.Bytes(b, total)
			for b.Loop() {
				i, err := tryStart(b, Config{Dir: dir, Sync: SyncNever}, st, nil)
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				stop(b, i)
				b.StartTimer()
			}
		})
	}
}

// TestLogIsEmptyAfterFlush expects no log file to outlive the entries in it, and the log to go on.
func TestLogIsEmptyAfterFlush(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	st := newMemStore()
	i, err := tryStart(t, cfg, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := tenantCtx(t, "a")
	for round := range 3 {
		push(t, i, "a", stream1(ls("app", "x"), entry(int64(round), "line", "level", "info")))
		if i.walSize.Load() == 0 {
			t.Fatal("push is not in the log")
		}
		if err := i.Flush(ctx, ""); err != nil {
			t.Fatal(err)
		}
		// The committer deletes files by itself.
		for deadline := time.Now().Add(10 * time.Second); i.walSize.Load() > 0; {
			if time.Now().After(deadline) {
				t.Fatalf("log has %d bytes, all in the store", i.walSize.Load())
			}
			runtime.Gosched()
		}
	}
	push(t, i, "a", stream1(ls("app", "x"), entry(9, "kept", "level", "warn")))
	stop(t, i)
	if i, err = tryStart(t, cfg, st, nil); err != nil {
		t.Fatal(err)
	}
	defer stop(t, i)
	// It remembers what it has stored of late, so it is asked as one asks who knows the store.
	req := everything()
	segments, err := st.Segments(ctx, math.MinInt64, math.MaxInt64)
	if err != nil || len(segments) != 3 {
		t.Fatalf("%d segments, %v", len(segments), err)
	}
	for _, s := range segments {
		req.Known = append(req.Known, s.ID.String())
	}
	want(t, read(t, ctx, i, req), `{app="x"} 9 kept level=warn`)
}

// TestLostFirstFile loses all names in the first file: the others repeat them.
func TestLostFirstFile(t *testing.T) {
	st := newMemStore()
	cfg := Config{Dir: t.TempDir(), Sync: SyncNever, WALFileSize: 2 << 10}
	rows := fillLog(t, cfg, st)
	path := logfile.Name(cfg.Dir, 0)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[10] ^= 0xff
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	i, err := tryStart(t, cfg, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, i)
	got := read(t, tenantCtx(t, "a"), i, everything())
	if len(got) < len(rows)*3/4 {
		t.Errorf("%d of %d rows are left", len(got), len(rows))
	}
	for _, r := range got {
		if !slices.Contains(rows, r) {
			t.Errorf("row has changed: %s", r)
		}
	}
}
