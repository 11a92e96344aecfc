package ingester_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grafana/dskit/user"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"example.com/loki/ingester"
	"example.com/loki/ingester/ingestertest"
	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wiretest"
	"example.com/loki/limits"
	"example.com/loki/logql"
	"example.com/loki/logql/column"
	"example.com/loki/store"
)

// register returns a function that registers s.
func register(s ingester.Service) func(grpc.ServiceRegistrar) {
	return func(r grpc.ServiceRegistrar) { ingester.RegisterServer(r, s) }
}

// remote returns s as a client sees it.
func remote(t testing.TB, s ingester.Service) ingester.Service {
	return ingester.NewClient(wiretest.Connect(t, register(s)))
}

// newIngester returns a running ingester with a store of its own.
func newIngester(t *testing.T) *ingester.Ingester {
	t.Helper()
	i, err := ingester.New(ingester.Config{Dir: t.TempDir()}, newStore(t), nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	run(t, i)
	return i
}

func TestContractOverGRPC(t *testing.T) {
	t.Run("fake", func(t *testing.T) {
		ingestertest.Contract(t, func(t *testing.T) ingester.Service { return remote(t, new(ingestertest.Fake)) })
	})
	t.Run("real", func(t *testing.T) {
		ingestertest.Contract(t, func(t *testing.T) ingester.Service { return remote(t, newIngester(t)) })
	})
	for _, c := range []wire.Compression{wire.Snappy, wire.Gzip, wire.Zstd} {
		t.Run(string(c), func(t *testing.T) {
			ingestertest.Contract(t, func(t *testing.T) ingester.Service {
				cfg := wire.Config{Compression: c}
				return ingester.NewClient(wiretest.ConnectWith(t, cfg, cfg, register(new(ingestertest.Fake))))
			})
		})
	}
}

// TestPlainPeer speaks to a server that knows nothing of this module's codec.
func TestPlainPeer(t *testing.T) {
	ingestertest.Contract(t, func(t *testing.T) ingester.Service {
		p := wiretest.ServePlain(t, register(new(ingestertest.Fake)))
		return ingester.NewClient(p.DialWith(t, grpc.WithTransportCredentials(insecure.NewCredentials())))
	})
}

func as(tenant string) context.Context { return user.InjectOrgID(context.Background(), tenant) }

func entriesOf(n, size int) []ingester.Entry {
	random := rand.New(rand.NewPCG(1, 2))
	out := make([]ingester.Entry, n)
	for i := range out {
		line := bytes.Repeat([]byte{'a' + byte(random.IntN(26))}, size)
		out[i] = ingester.Entry{Time: int64(i + 1), Line: line, Metadata: []ingester.Field{
			{Name: "trace", Value: fmt.Append(nil, i)}, {Name: "level", Value: []byte("info")}}}
	}
	return out
}

func pushOf(streams ...ingester.Stream) *ingester.PushRequest {
	for i := range streams {
		streams[i].Hash = labels.StableHash(streams[i].Labels)
	}
	return &ingester.PushRequest{Streams: streams}
}

// read returns all rows that Select yields as text.
func read(t *testing.T, s ingester.Service, req *logql.SelectRequest) []string {
	t.Helper()
	var out []string
	ctx := as("a")
	for b, err := range s.Select(ctx, req) {
		if err != nil {
			t.Fatal(err)
		}
		times, err1 := b.Times(ctx)
		lines, err2 := b.Lines(ctx)
		names, err3 := b.MetadataNames(ctx)
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		for _, r := range b.Runs {
			for i := r.From; i < r.To; i++ {
				line := string(lines.Row(i))
				if len(line) > 20 {
					line = fmt.Sprintf("%s…%d", line[:10], len(line))
				}
				row := fmt.Sprintf("%s %d %s", r.Stream.Labels, times[i], line)
				for _, n := range names {
					m, err := b.Metadata(ctx, n)
					if err != nil {
						t.Fatal(err)
					}
					if v, ok := m.Row(i); ok {
						row += fmt.Sprintf(" %s=%s", n, v)
					}
				}
				out = append(out, row)
			}
		}
		b.Release()
	}
	return out
}

func everything() *logql.SelectRequest {
	return &logql.SelectRequest{Start: math.MinInt64, End: math.MaxInt64, Direction: logql.Forward}
}

// TestLarge pushes and reads back what is larger than any message may be by default in gRPC, or than ours
// are.
func TestLarge(t *testing.T) {
	x, y := labels.FromStrings("app", "x"), labels.FromStrings("app", "y")
	var many []ingester.Stream
	for i := range 4_900 {
		many = append(many, ingester.Stream{Labels: labels.FromStrings("app", "x", "pod", strings.Repeat("p", 600)+fmt.Sprint(i)),
			Entries: entriesOf(1, 10)})
	}
	for name, req := range map[string]*ingester.PushRequest{
		"many entries":  pushOf(ingester.Stream{Labels: x, Entries: entriesOf(100_000, 100)}, ingester.Stream{Labels: y, Entries: entriesOf(3, 5)}),
		"one line":      pushOf(ingester.Stream{Labels: x, Entries: entriesOf(1, 20<<20)}),
		"large lines":   pushOf(ingester.Stream{Labels: x, Entries: entriesOf(5, 3<<20)}, ingester.Stream{Labels: y, Entries: entriesOf(5, 1<<20)}),
		"many streams":  pushOf(many...),
		"much metadata": pushOf(ingester.Stream{Labels: x, Entries: []ingester.Entry{{Time: 1, Metadata: []ingester.Field{{Name: "m", Value: make([]byte, 6<<20)}}}}}),
	} {
		t.Run(name, func(t *testing.T) {
			i := newIngester(t)
			if err := remote(t, i).Push(as("a"), req); err != nil {
				t.Fatal(err)
			}
			want := read(t, i, everything())
			if n := 0; len(want) == 0 {
				t.Fatalf("%d rows", n)
			}
			got := read(t, remote(t, i), everything())
			if len(got) != len(want) {
				t.Fatalf("%d rows over gRPC, %d without", len(got), len(want))
			}
			for n := range got {
				if got[n] != want[n] {
					t.Fatalf("row %d is\n%s, want\n%s", n, got[n], want[n])
				}
			}
		})
	}
}

func TestBounds(t *testing.T) {
	x, y := labels.FromStrings("app", "x"), labels.FromStrings("app", "y")
	big := pushOf(ingester.Stream{Labels: x, Entries: entriesOf(3, 2<<20)})
	parts := pushOf(ingester.Stream{Labels: x, Entries: entriesOf(9, 1<<20)}, ingester.Stream{Labels: y, Entries: entriesOf(4, 1<<20)})
	t.Run("in parts", func(t *testing.T) {
		seen := &counting{Service: new(ingestertest.Fake)}
		s := ingester.NewClient(wiretest.ConnectWith(t, wire.Config{}, wire.Config{MaxRequest: 3 << 20}, register(seen)))
		for range 2 { // as one that repeats a push
			if err := s.Push(as("a"), parts); err != nil {
				t.Fatal(err)
			}
		}
		want := new(ingestertest.Fake)
		if err := want.Push(as("a"), parts); err != nil {
			t.Fatal(err)
		}
		if got, want := read(t, seen, everything()), read(t, want, everything()); !slices.Equal(got, want) {
			t.Errorf("%d rows are stored, want %d", len(got), len(want))
		}
		if seen.most > 3<<20 || seen.pushes < 8 {
			t.Errorf("%d pushes, of which the largest has %d bytes", seen.pushes, seen.most)
		}
	})
	t.Run("refused in parts", func(t *testing.T) {
		one := limits.Default()
		one.MaxGlobalStreamsPerUser = 1
		limited, err := ingester.New(ingester.Config{Dir: t.TempDir()}, newStore(t), limits.Fixed(one), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		run(t, limited)
		s := ingester.NewClient(wiretest.ConnectWith(t, wire.Config{}, wire.Config{MaxRequest: 3 << 20}, register(limited)))
		req := pushOf(parts.Streams[0], ingester.Stream{Labels: y, Entries: entriesOf(9, 1<<20)})
		var over *ingester.StreamLimitError
		if err := s.Push(as("a"), req); !errors.As(err, &over) || len(over.Streams) != 1 || !labels.Equal(over.Streams[0], y) {
			t.Fatalf("Push = %v, want that y is refused", err)
		}
		if n := len(read(t, limited, everything())); n != 9 {
			t.Errorf("%d rows are stored, want the 9 of x", n)
		}
	})
	t.Run("part that fails", func(t *testing.T) {
		seen := &counting{Service: new(ingestertest.Fake), failFrom: 3}
		s := ingester.NewClient(wiretest.ConnectWith(t, wire.Config{}, wire.Config{MaxRequest: 3 << 20}, register(seen)))
		if err := s.Push(as("a"), parts); !errors.Is(err, ingester.ErrDiskFull) {
			t.Errorf("Push = %v", err)
		}
	})
	for _, c := range []wire.Compression{wire.NoCompression, wire.Snappy} {
		small := wire.Config{MaxReceive: 512 << 10}
		t.Run("smaller messages"+string(c), func(t *testing.T) {
			fake := new(ingestertest.Fake)
			s := ingester.NewClient(wiretest.ConnectWith(t, wire.Config{Compression: c}, small, register(fake)))
			for range 2 {
				if err := s.Push(as("a"), pushOf(ingester.Stream{Labels: x, Entries: entriesOf(100, 64<<10)})); err != nil {
					t.Fatal(err)
				}
			}
			if n := len(read(t, fake, everything())); n != 100 {
				t.Errorf("%d rows are stored", n)
			}
		})
		t.Run("one entry"+string(c), func(t *testing.T) {
			s := ingester.NewClient(wiretest.ConnectWith(t, wire.Config{Compression: c}, small, register(new(ingestertest.Fake))))
			err := s.Push(as("a"), big)
			if !errors.Is(err, ingester.ErrTooLarge) || !errors.Is(err, wire.ErrMessageSize) || !strings.Contains(err.Error(), "server.grpc_server_max_recv_msg_size") {
				t.Errorf("Push = %v", err)
			}
		})
	}
	t.Run("client", func(t *testing.T) {
		fake := new(ingestertest.Fake)
		s := ingester.NewClient(wiretest.ConnectWith(t, wire.Config{MaxReceive: 1 << 10}, wire.Config{}, register(fake)))
		if err := s.Push(as("a"), big); err != nil {
			t.Fatal(err)
		}
		for _, err := range s.Select(as("a"), everything()) {
			if !errors.Is(err, wire.ErrMessageSize) || !strings.Contains(err.Error(), "MaxReceive") {
				t.Errorf("Select = %v", err)
			}
		}
	})
}

// counting looks at what is pushed.
type counting struct {
	ingester.Service
	failFrom     int // the number of the push that fails, and all after it; 0: none
	pushes, most int
}

func (c *counting) Push(ctx context.Context, req *ingester.PushRequest) error {
	size := 0
	for _, s := range req.Streams {
		for _, e := range s.Entries {
			size += len(e.Line)
		}
	}
	c.pushes++
	c.most = max(c.most, size)
	if c.failFrom > 0 && c.pushes >= c.failFrom {
		return ingester.ErrDiskFull
	}
	return c.Service.Push(ctx, req)
}

// TestHints shows that rows which can't be wanted stay where they are, and all others come.
func TestHints(t *testing.T) {
	i := newIngester(t)
	x := labels.FromStrings("app", "x")
	var entries []ingester.Entry
	for n := range 100 {
		e := ingester.Entry{Time: int64(n), Line: fmt.Appendf(nil, "line %d needle%d", n, n%10)}
		if n%2 == 0 {
			e.Metadata = []ingester.Field{{Name: "pod", Value: fmt.Appendf(nil, "p%d", n%4)}}
		}
		entries = append(entries, e)
	}
	if err := i.Push(as("a"), pushOf(ingester.Stream{Labels: x, Entries: entries})); err != nil {
		t.Fatal(err)
	}
	s := remote(t, i)
	pod := func(v string) []*labels.Matcher {
		return []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "pod", v)}
	}
	for _, tt := range []struct {
		name string
		set  func(*logql.SelectRequest)
		want int
	}{
		{"all", func(*logql.SelectRequest) {}, 100},
		{"time", func(r *logql.SelectRequest) { r.Start, r.End = 10, 30 }, 20},
		{"needle", func(r *logql.SelectRequest) { r.Contains = []logql.Needle{{Text: "needle3"}} }, 10},
		{"needles", func(r *logql.SelectRequest) { r.Contains = []logql.Needle{{Text: "needle3"}, {Text: "line 13"}} }, 1},
		{"no row", func(r *logql.SelectRequest) { r.Contains = []logql.Needle{{Text: "haystack"}} }, 0},
		{"over the end of a row", func(r *logql.SelectRequest) { r.Contains = []logql.Needle{{Text: "needle0line"}} }, 0},
		{"folded", func(r *logql.SelectRequest) { r.Contains = []logql.Needle{{Text: "NEEDLE3", FoldCase: true}} }, 100},
		{"metadata", func(r *logql.SelectRequest) { r.Metadata = pod("p2") }, 25},
		{"metadata and time", func(r *logql.SelectRequest) { r.Metadata = pod("p2"); r.End = 50 }, 12},
		{"label in place of metadata", func(r *logql.SelectRequest) {
			r.Metadata = []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "app", "x")}
		}, 100},
	} {
		req := everything()
		tt.set(req)
		if got := read(t, s, req); len(got) != tt.want {
			t.Errorf("%s: %d rows, want %d: %q", tt.name, len(got), tt.want, got)
		}
	}
}

// failing fails with an error.
type failing struct {
	ingester.Service
	err error
}

func (f failing) Push(context.Context, *ingester.PushRequest) error { return f.err }

func (f failing) Select(context.Context, *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	return func(yield func(*column.Batch, error) bool) { yield(nil, f.err) }
}

func (f failing) Tail(context.Context, []*labels.Matcher) iter.Seq2[*ingester.TailBatch, error] {
	return func(yield func(*ingester.TailBatch, error) bool) { yield(nil, f.err) }
}

func (f failing) Labels(context.Context, int64, int64, []*labels.Matcher) ([]string, error) {
	return nil, f.err
}

func (f failing) Flush(context.Context, string) error { return f.err }

func TestErrorsOverGRPC(t *testing.T) {
	limit := &ingester.StreamLimitError{Tenant: "a", Limit: 3, Streams: []labels.Labels{labels.FromStrings("a", "b"), labels.FromStrings("c", "d")}}
	corrupt := &store.CorruptError{Object: "o", Section: "s", Offset: 7, Reason: "r"}
	for _, tt := range []struct {
		err error
		is  []error
	}{
		{ingester.ErrNotReady, []error{ingester.ErrNotReady}},
		{fmt.Errorf("replay is at 5 %%: %w", ingester.ErrNotReady), []error{ingester.ErrNotReady}},
		{ingester.ErrDiskFull, []error{ingester.ErrDiskFull}},
		{ingester.ErrWriteLog, []error{ingester.ErrWriteLog}},
		{ingester.ErrTooLarge, []error{ingester.ErrTooLarge}},
		{limit, []error{ingester.ErrStreamLimit}},
		{fmt.Errorf("push: %w", limit), []error{ingester.ErrStreamLimit}},
		{fmt.Errorf("read: %w", corrupt), []error{store.ErrCorrupt}},
		{fmt.Errorf("both: %w, %w", ingester.ErrDiskFull, context.DeadlineExceeded), []error{ingester.ErrDiskFull, context.DeadlineExceeded}},
		{errors.New("never seen: 100 % ünknown\n" + strings.Repeat("long ", 1000)), nil},
		{errors.New("no text: \xff"), nil},
	} {
		s := remote(t, failing{err: tt.err})
		ctx := as("a")
		results := map[string]error{
			"Push":  s.Push(ctx, &ingester.PushRequest{}),
			"Flush": s.Flush(ctx, ""),
		}
		_, results["Labels"] = s.Labels(ctx, 0, 1, nil)
		for _, err := range s.Select(ctx, everything()) {
			results["Select"] = err
		}
		for _, err := range s.Tail(ctx, nil) {
			results["Tail"] = err
		}
		for call, got := range results {
			if got == nil || got.Error() != tt.err.Error() {
				t.Errorf("%s fails with\n%v, want\n%v", call, got, tt.err)
				continue
			}
			for _, want := range tt.is {
				if !errors.Is(got, want) {
					t.Errorf("%s: %v is not %v", call, got, want)
				}
			}
			var l *ingester.StreamLimitError
			if errors.As(tt.err, &l) && (!errors.As(got, &l) || l == limit || fmt.Sprint(*l) != fmt.Sprint(*limit)) {
				t.Errorf("%s: details are %+v, want %+v", call, l, limit)
			}
			var c *store.CorruptError
			if errors.As(tt.err, &c) && (!errors.As(got, &c) || *c != *corrupt) {
				t.Errorf("%s: details are %+v, want %+v", call, c, corrupt)
			}
		}
	}
}

// endless selects the same batch until it is told to stop.
type endless struct {
	ingester.Service
	batches atomic.Int64
	ended   chan error
}

func (e *endless) Select(ctx context.Context, req *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	fake := new(ingestertest.Fake)
	err := fake.Push(ctx, pushOf(ingester.Stream{Labels: labels.FromStrings("app", "x"), Entries: entriesOf(100, 10_000)}))
	return func(yield func(*column.Batch, error) bool) {
		for err == nil {
			for b, err2 := range fake.Select(ctx, req) {
				err = err2
				e.batches.Add(1)
				if !yield(b, err2) {
					e.ended <- ctx.Err()
					return
				}
			}
		}
		e.ended <- err
	}
}

// TestLeaving shows that a reader who stops reading stops the other side, and one who leaves ends it.
func TestLeaving(t *testing.T) {
	e := &endless{ended: make(chan error, 1)}
	s := remote(t, e)
	for b, err := range s.Select(as("a"), everything()) {
		if err != nil {
			t.Fatal(err)
		}
		b.Release()
		// The other side is far ahead only as long as flow control lets it.
		last := int64(-1)
		for n := e.batches.Load(); n != last; n = e.batches.Load() {
			last = n
			time.Sleep(50 * time.Millisecond)
		}
		if last > 40 {
			t.Errorf("%d batches of 1 MB are on their way to one who has read one", last)
		}
		break
	}
	if err := <-e.ended; err == nil {
		t.Error("the context of the other side goes on")
	}
	ctx, cancel := context.WithCancel(as("a"))
	defer cancel()
	for _, err := range s.Select(ctx, everything()) {
		cancel()
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("Select = %v, want %v", err, context.Canceled)
		}
	}
	<-e.ended
	cause := errors.New("enough")
	ctx, stop := context.WithTimeoutCause(as("a"), 50*time.Millisecond, cause)
	defer stop()
	var last error
	for _, last = range s.Select(ctx, everything()) {
	}
	if !errors.Is(last, cause) || !errors.Is(last, context.DeadlineExceeded) {
		t.Errorf("Select = %v, want %v", last, cause)
	}
	<-e.ended
}

// TestPeerGoes shows what a caller sees when the other side goes away.
func TestPeerGoes(t *testing.T) {
	p := wiretest.Serve(t, wire.Config{}, register(new(ingestertest.Fake)))
	s := ingester.NewClient(p.Dial(t, wire.Config{}))
	tail := s.Tail(as("a"), nil)
	if err := s.Push(as("a"), pushOf(ingester.Stream{Labels: labels.FromStrings("app", "x"), Entries: entriesOf(1, 1)})); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err := range tail {
		if n++; n == 1 {
			if err != nil {
				t.Fatal(err)
			}
			now, cancel := context.WithCancel(context.Background())
			cancel()
			p.Shutdown(now)
		} else if !wire.IsUnavailable(err) && !errors.Is(err, io.EOF) {
			t.Errorf("tail ends with %v", err)
		}
	}
	if err := s.Push(as("a"), &ingester.PushRequest{}); !wire.IsUnavailable(err) {
		t.Errorf("Push = %v, want it to be unavailable", err)
	}
}

// lossy is an ingester whose tail has lost entries.
type lossy struct {
	ingester.Service
	batch ingester.TailBatch
}

func (l lossy) Tail(context.Context, []*labels.Matcher) iter.Seq2[*ingester.TailBatch, error] {
	return func(yield func(*ingester.TailBatch, error) bool) { yield(&l.batch, nil) }
}

// TestLostOverGRPC shows that what a tail has lost is told once, with a batch of several messages.
func TestLostOverGRPC(t *testing.T) {
	x := labels.FromStrings("app", "x")
	b := ingester.TailBatch{Streams: pushOf(ingester.Stream{Labels: x, Entries: entriesOf(3, 1<<20)}).Streams, Dropped: 5, At: time.Unix(1, 0)}
	b.Lost = []logql.Lost{{Labels: x, Time: 7}, {Labels: labels.FromStrings("app", "y"), Time: 8}}
	for got, err := range remote(t, lossy{batch: b}).Tail(as("a"), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if got.Dropped != 5 || len(got.Streams) != 1 || len(got.Streams[0].Entries) != 3 || fmt.Sprint(got.Lost) != fmt.Sprint(b.Lost) {
			t.Errorf("%d dropped, %d streams, lost %v", got.Dropped, len(got.Streams), got.Lost)
		}
	}
}
