package replicas

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/grafana/dskit/user"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/goleak"

	"example.com/loki/ingester"
	"example.com/loki/logql"
	"example.com/loki/logql/column"
	"example.com/loki/ring/member"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mode is how an ingester misbehaves.
type mode int

const (
	fine mode = iota
	failing
	hanging
	dying // it does half of what it is asked, then fails
)

var modes = map[string]mode{"fine": fine, "failing": failing, "hanging": hanging, "dying": dying}

var errBoom = errors.New("boom")

// faulty is an ingester that may misbehave. Flush always works.
type faulty struct {
	ingester.Service
	mu      sync.Mutex
	mode    mode
	changed chan struct{}
	pushes  int
	closed  bool
}

func newFaulty(s ingester.Service) *faulty { return &faulty{Service: s, changed: make(chan struct{})} }

func (f *faulty) set(m mode) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mode = m
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *faulty) now() (mode, chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mode, f.changed
}

// before returns what a call fails with before it does anything.
func (f *faulty) before(ctx context.Context) error {
	for {
		m, changed := f.now()
		switch m {
		case failing:
			return errBoom
		case hanging:
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-changed:
				continue
			}
		}
		return nil
	}
}

// after returns what a call fails with when it has done its work.
func (f *faulty) after() error {
	if m, _ := f.now(); m == dying {
		return errBoom
	}
	return nil
}

func (f *faulty) Push(ctx context.Context, req *ingester.PushRequest) error {
	f.mu.Lock()
	f.pushes++
	f.mu.Unlock()
	if err := f.before(ctx); err != nil {
		return err
	}
	if err := f.Service.Push(ctx, req); err != nil {
		return err
	}
	return f.after()
}

func (f *faulty) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pushes
}

func (f *faulty) Select(ctx context.Context, req *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	return func(yield func(*column.Batch, error) bool) {
		if err := f.before(ctx); err != nil {
			yield(nil, err)
			return
		}
		for b, err := range f.Service.Select(ctx, req) {
			if !yield(b, err) {
				return
			}
			if err := f.after(); err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

func faultyList[T any](ctx context.Context, f *faulty, do func() (T, error)) (T, error) {
	var none T
	if err := f.before(ctx); err != nil {
		return none, err
	}
	if err := f.after(); err != nil {
		return none, err
	}
	return do()
}

func (f *faulty) Labels(ctx context.Context, start, end int64, ms []*labels.Matcher) ([]string, error) {
	return faultyList(ctx, f, func() ([]string, error) { return f.Service.Labels(ctx, start, end, ms) })
}

func (f *faulty) LabelValues(ctx context.Context, name string, start, end int64, ms []*labels.Matcher) ([]string, error) {
	return faultyList(ctx, f, func() ([]string, error) { return f.Service.LabelValues(ctx, name, start, end, ms) })
}

func (f *faulty) Series(ctx context.Context, start, end int64, ms []*labels.Matcher) ([]labels.Labels, error) {
	return faultyList(ctx, f, func() ([]labels.Labels, error) { return f.Service.Series(ctx, start, end, ms) })
}

func (f *faulty) Volumes(ctx context.Context, start, end int64, ms []*labels.Matcher, known []string) ([]logql.StreamVolume, error) {
	return faultyList(ctx, f, func() ([]logql.StreamVolume, error) { return f.Service.Volumes(ctx, start, end, ms, known) })
}

func (f *faulty) Oldest(ctx context.Context, start, end int64, ms []*labels.Matcher, known []string) (int64, error) {
	answer, err := faultyList(ctx, f, func() ([]int64, error) {
		oldest, err := f.Service.Oldest(ctx, start, end, ms, known)
		return []int64{oldest}, err
	})
	if err != nil {
		return 0, err
	}
	return answer[0], nil
}

func (f *faulty) Tail(ctx context.Context, ms []*labels.Matcher) iter.Seq2[*ingester.TailBatch, error] {
	ctx, cancel := context.WithCancel(ctx)
	live := f.Service.Tail(ctx, ms)
	return func(yield func(*ingester.TailBatch, error) bool) {
		defer cancel()
		if err := f.before(ctx); err != nil {
			yield(nil, err)
			return
		}
		// A connection that breaks ends a sequence that waits.
		_, changed := f.now()
		broken := make(chan struct{})
		defer close(broken)
		go func() {
			select {
			case <-changed:
				cancel()
			case <-broken:
			}
		}()
		for b, err := range live {
			if !yield(b, err) {
				return
			}
			if err := f.after(); err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

func (f *faulty) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}

// cluster is ingesters in a ring that a test can change.
type cluster struct {
	*Replicas
	nodes []*faulty

	mu        sync.Mutex
	options   member.Options
	instances []member.Instance
}

// View implements member.Reader.
func (c *cluster) View() member.View {
	c.mu.Lock()
	defer c.mu.Unlock()
	return member.NewSnapshot(c.options, c.instances).At(time.Now())
}

// newCluster runs replicas over ingesters.
func newCluster(t testing.TB, factor int, cfg Config, nodes ...ingester.Service) *cluster {
	t.Helper()
	c := &cluster{options: member.Options{Kind: "ingester", ReplicationFactor: factor}}
	for _, s := range nodes {
		c.add(s)
	}
	if cfg.SlowAfter == 0 {
		cfg.SlowAfter = 50 * time.Millisecond
	}
	if cfg.ProbeEvery == 0 {
		cfg.ProbeEvery = 20 * time.Millisecond
	}
	if cfg.StuckAfter == 0 {
		cfg.StuckAfter = 200 * time.Millisecond
	}
	r, err := New(cfg, c, c.dialNode, nil, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	c.Replicas = r
	if err := services.StartAndAwaitRunning(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := services.StopAndAwaitTerminated(context.Background(), r); err != nil {
			t.Error(err)
		}
		for addr, n := range c.nodes {
			n.mu.Lock()
			if n.pushes > 0 && !n.closed {
				t.Errorf("connection to %d is open", addr)
			}
			n.mu.Unlock()
		}
	})
	return c
}

func (c *cluster) add(s ingester.Service) *faulty {
	c.mu.Lock()
	defer c.mu.Unlock()
	addr := fmt.Sprintf("node-%d", len(c.nodes))
	f := newFaulty(s)
	c.nodes = append(c.nodes, f)
	c.instances = append(c.instances, member.Instance{ID: addr, Addr: addr, State: member.Active, Tokens: member.TokensOf(addr, 64)})
	return f
}

// change changes instance n in the ring.
func (c *cluster) change(n int, f func(*member.Instance)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.instances[n])
}

func (c *cluster) dialNode(addr string) (ingester.Service, io.Closer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var n int
	if _, err := fmt.Sscanf(addr, "node-%d", &n); err != nil || n >= len(c.nodes) {
		return nil, nil, fmt.Errorf("no node %s", addr)
	}
	return c.nodes[n], c.nodes[n], nil
}

// settled waits until no push to an ingester that is fine is under way.
func (c *cluster) settled() {
	for {
		busy := false
		c.Replicas.mu.Lock()
		for addr, p := range c.peers {
			var n int
			fmt.Sscanf(addr, "node-%d", &n)
			if m, _ := c.nodes[n].now(); m == hanging {
				continue
			}
			p.mu.Lock()
			busy = busy || p.pushes > 0
			p.mu.Unlock()
		}
		c.Replicas.mu.Unlock()
		if !busy {
			return
		}
		<-time.After(time.Millisecond)
	}
}

// once is what a reader sees who counts the entries of shared runs once, as the executor does. Its pushes return
// when all replicas are done, so that tests see nothing change.
type once struct{ *cluster }

// Replicated tells the contract not to expect the same parts each time.
func (once) Replicated() {}

func (o once) Push(ctx context.Context, req *ingester.PushRequest) error {
	err := o.Replicas.Push(ctx, req)
	o.settled()
	return err
}

func (o once) Select(ctx context.Context, req *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	if req.Query != "" {
		return o.cluster.Select(ctx, req) // whoever executes a query counts doubles once, with less than all columns
	}
	return func(yield func(*column.Batch, error) bool) {
		seen := make(map[string]bool)
		for b, err := range o.Replicas.Select(ctx, req) {
			if err == nil {
				b, err = unseen(ctx, b, seen)
			}
			if !yield(b, err) {
				return
			}
		}
	}
}

// unseen returns the batch with those rows that were not seen yet.
func unseen(ctx context.Context, b *column.Batch, seen map[string]bool) (*column.Batch, error) {
	times, err := b.Times(ctx)
	if err != nil {
		return nil, err
	}
	lines, err := b.Lines(ctx)
	if err != nil {
		return nil, err
	}
	names, err := b.MetadataNames(ctx)
	if err != nil {
		return nil, err
	}
	c := *b
	c.Runs = nil
	for _, r := range b.Runs {
		for i := r.From; i < r.To; i++ {
			key := fmt.Sprintf("%s %d %q", r.Stream.Labels, times[i], lines.Row(i))
			for _, n := range names {
				m, err := b.Metadata(ctx, n)
				if err != nil {
					return nil, err
				}
				if v, ok := m.Row(i); ok {
					key += fmt.Sprintf(" %s=%q", n, v)
				}
			}
			if r.Shared && seen[key] {
				continue
			}
			seen[key] = true
			if k := len(c.Runs) - 1; k >= 0 && c.Runs[k].To == i && c.Runs[k].Stream == r.Stream {
				c.Runs[k].To, c.Runs[k].MaxTime = i+1, times[i]
			} else {
				c.Runs = append(c.Runs, column.Run{Stream: r.Stream, From: i, To: i + 1, MinTime: times[i], MaxTime: times[i], Shared: r.Shared})
			}
		}
	}
	return &c, nil
}

func as(ctx context.Context, tenant string) context.Context { return user.InjectOrgID(ctx, tenant) }

// entry makes a stream of one entry.
func entry(app string, at int64, line string) ingester.Stream {
	ls := labels.FromStrings("app", app)
	return ingester.Stream{Labels: ls, Hash: labels.StableHash(ls), Entries: []ingester.Entry{{Time: at, Line: []byte(line)}}}
}

// read returns the lines that a reader counts, sorted.
func (c *cluster) read(t testing.TB, direction logql.Direction) ([]string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(as(context.Background(), "a"), 20*time.Second)
	defer cancel()
	var out []string
	last := int64(0)
	first := true
	for b, err := range (once{c}).Select(ctx, &logql.SelectRequest{Start: 0, End: 1 << 60, Direction: direction}) {
		if err != nil {
			return out, err
		}
		at := b.MinTime
		if direction == logql.Backward {
			at = -b.MaxTime
		}
		if !first && at < last {
			t.Errorf("%s: batch %d..%d out of order", direction, b.MinTime, b.MaxTime)
		}
		first, last = false, at
		lines, err := b.Lines(ctx)
		if err != nil {
			return out, err
		}
		for _, r := range b.Runs {
			for i := r.From; i < r.To; i++ {
				out = append(out, string(lines.Row(i)))
			}
		}
		b.Release()
	}
	slices.Sort(out)
	return out, nil
}
