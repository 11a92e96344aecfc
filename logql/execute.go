package logql

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"example.com/loki/internal/pace"
	"example.com/loki/logql/column"
)

// sink takes batches and keeps what the answer needs of them. Each goroutine of a task has its own.
type sink interface {
	// wants tells whether a batch can change the answer, and whether a later one of the sequence can.
	wants(b *column.Batch) (this, later bool)
	// consume executes the leaf on a batch. held tells that the sink goes on using it and will call reader.done, whether or
	// not there is an error.
	consume(ctx context.Context, b *column.Batch) (held bool, err error)
}

// Execute runs one task over a source. When it returns, no goroutine is left and every batch has been
// released. Errors are *QueryError or *syntax.ParseError where the user can help it; others come from
// the source or the context.
func Execute(ctx context.Context, t Task, src Source, o Options) (*Partial, error) {
	p, err := NewPlan(t.Params)
	if err != nil {
		return nil, err
	}
	return p.Execute(ctx, t, src, o)
}

// Execute does what the function Execute does, for a caller that has the plan of the task already.
func (p *Plan) Execute(ctx context.Context, t Task, src Source, o Options) (*Partial, error) {
	if t.Leaf < 0 || t.Leaf >= len(p.leaves) {
		return nil, fmt.Errorf("logql: the query has %d leaves, none has number %d", len(p.leaves), t.Leaf)
	}
	start := time.Now()
	leaf := p.Leaves[t.Leaf]
	from, through := max(leaf.Start, t.From), min(leaf.End, t.Through)
	out := &Partial{}
	if from >= through {
		return out, nil
	}
	lp := &p.leaves[t.Leaf]
	mem := &budget{limit: o.MaxMemory}
	req := p.request(t.Leaf, from, through)
	r := &reader{counted: &counters{scans: !lp.pipeline.Trivial()}, source: src.Select(ctx, req)}
	var err error
	switch {
	case lp.agg != nil:
		limit := maxTaskSeries
		if _, whole := p.leafOf[p.Expr]; whole && o.MaxSeries > 0 {
			limit = min(limit, o.MaxSeries) // each series of the leaf is one of the result
		}
		out.series, err = aggregate(ctx, lp, r, from, through, mem, limit, o.goroutines())
		if req.Project != nil && isPipelineError(err) { // it shows all labels of the row
			whole := *req
			whole.Project = nil
			r.source = src.Select(ctx, &whole)
			out.series, err = aggregate(ctx, lp, r, from, through, &budget{limit: o.MaxMemory}, limit, o.goroutines())
		}
	case p.Params.Interval > 0:
		out.entries, err = p.selectSpaced(ctx, lp, r, from, through, mem)
	default:
		out.entries, err = p.selectEntries(ctx, lp, r, from, through, mem, o.goroutines())
	}
	if err != nil {
		return nil, err
	}
	out.Stats = r.counted.stats()
	out.Stats.Tasks = 1
	out.Stats.ExecTime = time.Since(start)
	return out, nil
}

func (o Options) goroutines() int {
	if o.Parallelism > 0 {
		return o.Parallelism
	}
	return runtime.GOMAXPROCS(0)
}

// reader hands the batches of a source to sinks.
type reader struct {
	source  iter.Seq2[*column.Batch, error]
	counted *counters
}

// run feeds the sinks, each in a goroutine of its own, until the source is at its end, no later batch
// can matter, or something fails. It returns when all goroutines have.
func (r *reader) run(ctx context.Context, sinks []sink) error {
	if len(sinks) == 1 {
		paced, w := pace.NewWorker(ctx)
		for b, err := range r.source {
			if err != nil {
				return err
			}
			if more, err := r.feed(paced, w, sinks[0], b); err != nil || !more {
				return err
			}
		}
		return ctx.Err()
	}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next, stop := iter.Pull2(r.source)
	defer stop()
	var mu sync.Mutex // guards next and done
	done := false
	pull := func() (*column.Batch, error) {
		mu.Lock()
		defer mu.Unlock()
		if done {
			return nil, nil
		}
		b, err, ok := next()
		if !ok || err != nil {
			done = true
			return nil, err
		}
		return b, nil
	}
	finish := func() {
		mu.Lock()
		done = true
		mu.Unlock()
	}
	var wg sync.WaitGroup
	for _, s := range sinks {
		wg.Go(func() {
			paced, w := pace.NewWorker(ctx)
			for {
				b, err := pull()
				if err == nil && b == nil {
					return
				}
				more := false
				if err == nil {
					more, err = r.feed(paced, w, s, b)
				}
				if err != nil {
					cancel(err) // the first one stands
				}
				if err != nil || !more {
					finish()
					return
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// feed gives a batch to a sink and releases it, unless the sink holds it; more tells whether later ones are wanted. Only here
// the worker has a slot: who waits for one must not keep the others from the source.
func (r *reader) feed(ctx context.Context, w *pace.Worker, s sink, b *column.Batch) (more bool, err error) {
	held := false
	defer func() {
		if !held {
			b.Release()
		}
	}()
	if err := w.Take(ctx); err != nil {
		return false, context.Cause(ctx)
	}
	defer w.Release()
	if err := context.Cause(ctx); err != nil {
		return false, err
	}
	this, later := s.wants(b)
	r.counted.pages.Add(1)
	if !this {
		return later, nil
	}
	watched := *b
	watched.Columns = &watchedColumns{Columns: b.Columns}
	if held, err = s.consume(ctx, &watched); !held {
		r.counted.add(&watched)
	}
	return later, err
}

// done counts and releases a batch that a sink has held.
func (r *reader) done(b *column.Batch) {
	r.counted.add(b)
	b.Release()
}

// finish lets selectors make their last entries, each in a goroutine of its own.
func (r *reader) finish(ctx context.Context, selectors []*selector) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, s := range selectors {
		if len(s.held) == 0 {
			continue
		}
		wg.Go(func() {
			paced, w := pace.NewWorker(ctx)
			err := w.Take(paced)
			if err == nil {
				defer w.Release()
				err = s.make(paced)
			}
			if err != nil {
				cancel(err) // the first one stands
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// counters add up Stats.
type counters struct {
	scans bool // there are stages that read lines, here or where rows are sifted

	pages, pagesRead, rows, rowsKept, lineBytes   atomic.Int64
	metadataBytes, headRows, headBytes, readBytes atomic.Int64

	mu      sync.Mutex
	streams map[uint64]struct{} // guarded by mu
}

// add counts a batch of watched columns.
func (c *counters) add(b *column.Batch) {
	cols := b.Columns.(*watchedColumns)
	if cols.read.Load() {
		c.pagesRead.Add(1)
	}
	if cols.lines.Load() || b.Sifted && c.scans {
		c.lineBytes.Add(b.RawBytes)
		if b.Head {
			c.headBytes.Add(b.RawBytes)
		}
	}
	if cols.metadata.Load() {
		c.metadataBytes.Add(b.MetadataBytes)
	}
	if b.Fetched != nil {
		c.readBytes.Add(b.Fetched())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams == nil {
		c.streams = map[uint64]struct{}{}
	}
	rows := 0
	var last *column.Stream
	for i := range b.Runs {
		rows += b.Runs[i].To - b.Runs[i].From
		if s := b.Runs[i].Stream; s != last {
			c.streams[s.Hash] = struct{}{}
			last = s
		}
	}
	c.rows.Add(int64(rows))
	if b.Head {
		c.headRows.Add(int64(rows))
	}
}

func (c *counters) stats() Stats {
	return Stats{
		Streams:    int64(len(c.streams)),
		PagesTotal: c.pages.Load(),
		PagesRead:  c.pagesRead.Load(),
		Rows:       c.rows.Load(),
		RowsKept:   c.rowsKept.Load(),
		LineBytes:  c.lineBytes.Load(),

		MetadataBytes: c.metadataBytes.Load(),
		HeadRows:      c.headRows.Load(),
		HeadBytes:     c.headBytes.Load(),
		ReadBytes:     c.readBytes.Load(),
	}
}

// watchedColumns notes which columns are read.
type watchedColumns struct {
	column.Columns
	read, lines, metadata atomic.Bool
}

func (c *watchedColumns) Times(ctx context.Context) ([]int64, error) {
	c.read.Store(true)
	return c.Columns.Times(ctx)
}

func (c *watchedColumns) LineLengths(ctx context.Context) ([]uint32, error) {
	c.read.Store(true)
	return c.Columns.LineLengths(ctx)
}

// Hashes implements column.Hashed.
func (c *watchedColumns) Hashes(ctx context.Context) ([]uint64, error) {
	if h, ok := c.Columns.(column.Hashed); ok {
		c.read.Store(true)
		return h.Hashes(ctx)
	}
	return nil, nil
}

// RowHashes implements column.RowHashed.
func (c *watchedColumns) RowHashes() func(row int) uint64 {
	if h, ok := c.Columns.(column.RowHashed); ok {
		c.read.Store(true)
		return h.RowHashes()
	}
	return nil
}

func (c *watchedColumns) Lines(ctx context.Context) (column.Lines, error) {
	c.read.Store(true)
	c.lines.Store(true)
	return c.Columns.Lines(ctx)
}

// Search implements column.Searcher.
func (c *watchedColumns) Search(ctx context.Context, texts *column.Texts) (rows []int32, lines column.Lines, ok bool, err error) {
	if s, is := c.Columns.(column.Searcher); is {
		if rows, lines, ok, err = s.Search(ctx, texts); ok {
			c.read.Store(true)
			c.lines.Store(true)
		}
	}
	return rows, lines, ok, err
}

// PickLines implements column.LinePicker.
func (c *watchedColumns) PickLines(ctx context.Context, rows []int32) (column.Lines, error) {
	p, ok := c.Columns.(column.LinePicker)
	if !ok {
		return c.Lines(ctx)
	}
	c.read.Store(true)
	c.lines.Store(true)
	return p.PickLines(ctx, rows)
}

func (c *watchedColumns) Metadata(ctx context.Context, name string) (column.Metadata, error) {
	c.read.Store(true)
	c.metadata.Store(true)
	return c.Columns.Metadata(ctx, name)
}

// PickTimes implements column.Picker.
func (c *watchedColumns) PickTimes(ctx context.Context, rows []int32) ([]int64, error) {
	p, ok := c.Columns.(column.Picker)
	if !ok {
		return c.Times(ctx)
	}
	c.read.Store(true)
	return p.PickTimes(ctx, rows)
}

// Pick implements column.Picker.
func (c *watchedColumns) Pick(ctx context.Context, name string, rows []int32) (column.Metadata, error) {
	p, ok := c.Columns.(column.Picker)
	if !ok {
		return c.Metadata(ctx, name)
	}
	c.read.Store(true)
	c.metadata.Store(true)
	return p.Pick(ctx, name, rows)
}
