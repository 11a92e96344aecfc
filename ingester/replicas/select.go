package replicas

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/grafana/dskit/user"

	"example.com/loki/ingester"
	"example.com/loki/logql"
	"example.com/loki/logql/column"
)

// ahead is how many batches are read from an ingester before they are wanted.
const ahead = 2

// Select implements logql.Source. Batches of all ingesters are merged in the order of the request. All runs are
// shared when more than one ingester may hold the same entries.
func (r *Replicas) Select(ctx context.Context, req *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	return func(yield func(*column.Batch, error) bool) {
		if _, err := user.ExtractOrgID(ctx); err != nil {
			yield(nil, fmt.Errorf("replicas: %w", err))
			return
		}
		if err := r.begin(); err != nil {
			yield(nil, err)
			return
		}
		defer r.end()
		ctx, cancel := r.withStop(ctx)
		defer cancel()
		s := r.newSelection(ctx, req)
		defer s.close()
		for {
			b, err := s.next()
			if err != nil {
				yield(nil, err)
				return
			}
			if b == nil {
				return
			}
			if !yield(b, nil) {
				return
			}
		}
	}
}

// selection is a Select under way. It belongs to the goroutine that reads it.
type selection struct {
	r       *Replicas
	ctx     context.Context
	req     logql.SelectRequest
	roll    *rollCall
	sources []*source
	events  chan event
	begun   bool // a batch, or the end, has been returned
}

// source is what one ingester yields.
type source struct {
	cancel context.CancelFunc
	credit chan struct{} // what it may still send before some of it is taken
	queue  []*column.Batch

	overlaps []logql.Overlap
	told     bool // overlaps is known
}

// event is a batch of a source, what it tells before the first one, or its end.
type event struct {
	n        int
	batch    *column.Batch
	told     bool
	overlaps []logql.Overlap
	err      error
}

func (r *Replicas) newSelection(ctx context.Context, req *logql.SelectRequest) *selection {
	s := &selection{r: r, ctx: ctx, req: *req, roll: r.rollCall("select"), events: make(chan event)}
	if w := req.Wants; w != nil && len(s.roll.all) > 1 {
		hashed := *w
		hashed.Hashes = true // take marks all runs
		s.req.Wants = &hashed
	}
	for n, i := range s.roll.all {
		own, cancel := context.WithCancel(ctx)
		src := &source{cancel: cancel, credit: make(chan struct{}, ahead)}
		for range ahead {
			src.credit <- struct{}{}
		}
		s.sources = append(s.sources, src)
		r.calls.Go(func() {
			defer cancel()
			err := r.call(own, i, "select", func(svc ingester.Service) error {
				return s.read(own, n, src, svc)
			})
			select {
			case s.events <- event{n: n, err: err}:
			case <-own.Done():
			}
		})
	}
	return s
}

// read passes on what an ingester yields. It runs in a goroutine of its own.
func (s *selection) read(ctx context.Context, n int, src *source, svc ingester.Service) error {
	req := s.req
	if req.Overlaps != nil {
		req.Overlaps = func(all []logql.Overlap) {
			select {
			case s.events <- event{n: n, told: true, overlaps: all}:
			case <-ctx.Done():
			}
		}
	}
	for b, err := range svc.Select(ctx, &req) {
		if err != nil {
			return err
		}
		select {
		case <-src.credit:
		case <-ctx.Done():
			b.Release()
			return ctx.Err()
		}
		select {
		case s.events <- event{n: n, batch: b}:
		case <-ctx.Done():
			b.Release()
			return ctx.Err()
		}
	}
	return nil
}

// next returns the batch that comes next, nil after the last one.
func (s *selection) next() (*column.Batch, error) {
	has := func(n int) bool { return len(s.sources[n].queue) > 0 }
	for {
		if err := s.ctx.Err(); err != nil {
			return nil, s.r.ended(s.ctx)
		}
		if err := s.roll.failure(); err != nil {
			return nil, err
		}
		if late, _ := s.roll.late(has); len(late) == 0 {
			s.roll.stop()
			s.begin()
			return s.take(), nil
		}
		select {
		case e := <-s.events:
			if s.roll.done[e.n] { // given up just now
				if e.batch != nil {
					e.batch.Release()
				}
				continue
			}
			if e.told {
				s.sources[e.n].told, s.sources[e.n].overlaps = true, e.overlaps
				continue
			}
			if e.batch == nil {
				s.roll.heard(e.n, e.err)
				continue
			}
			s.sources[e.n].queue = append(s.sources[e.n].queue, e.batch)
		case <-s.roll.patienceWith(has):
			for _, n := range s.roll.giveUpBut(has) {
				s.sources[n].cancel()
			}
		case <-s.ctx.Done():
		}
	}
}

// begin passes on what the sources have told before their first batches, if all that have one did.
func (s *selection) begin() {
	if s.begun || s.req.Overlaps == nil {
		return
	}
	s.begun = true
	var all []logql.Overlap
	for _, src := range s.sources {
		if !src.told && len(src.queue) > 0 {
			return
		}
		all = append(all, src.overlaps...)
	}
	s.req.Overlaps(all)
}

// take returns the first batch of all that wait, nil if none does.
func (s *selection) take() *column.Batch {
	best := -1
	for n, src := range s.sources {
		if len(src.queue) > 0 && (best < 0 || s.before(src.queue[0], s.sources[best].queue[0])) {
			best = n
		}
	}
	if best < 0 {
		return nil
	}
	src := s.sources[best]
	b := src.queue[0]
	src.queue[0] = nil
	src.queue = src.queue[1:]
	src.credit <- struct{}{} // there is room: it was taken for this batch
	if len(s.sources) > 1 {
		b = shared(b)
	}
	return b
}

func (s *selection) before(a, b *column.Batch) bool {
	if s.req.Direction == logql.Forward {
		return a.MinTime < b.MinTime
	}
	return a.MaxTime > b.MaxTime
}

// shared returns the batch with all runs marked. The runs belong to whoever made the batch, so it has its own.
func shared(b *column.Batch) *column.Batch {
	if !slices.ContainsFunc(b.Runs, func(r column.Run) bool { return !r.Shared }) {
		return b
	}
	c := *b
	c.Runs = slices.Clone(b.Runs)
	for n := range c.Runs {
		c.Runs[n].Shared = true
	}
	return &c
}

// close ends all sources and gives up what nobody took.
func (s *selection) close() {
	s.roll.stop()
	for _, src := range s.sources {
		src.cancel()
		for _, b := range src.queue {
			b.Release()
		}
	}
}
