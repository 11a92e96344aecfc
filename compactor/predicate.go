package compactor

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/column"
	"example.com/loki/logql/pipeline"
	"example.com/loki/logql/syntax"
)

// Predicate names rows to delete: those that a log query selects, from Start to End. It is immutable.
type Predicate struct {
	Matchers   []*labels.Matcher
	Start, End int64 // nanoseconds since 1970, both inclusive

	id       string
	pipeline *pipeline.Pipeline
}

// NewPredicate compiles a log query. The error is ErrBadRequest or wraps what is wrong with the query.
func NewPredicate(query string, start, end int64) (*Predicate, error) {
	expr, err := syntax.ParseLog(query)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	p, err := pipeline.Compile(expr.Stages, pipeline.Options{SkipLength: true})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	if start > end {
		return nil, fmt.Errorf("%w: start time can't be greater than end time", ErrBadRequest)
	}
	return &Predicate{Matchers: expr.Matchers, Start: start, End: end, pipeline: p}, nil
}

// through is the time after the last one, for who excludes it. A row at the last instant that there is
// can't be named.
func (p *Predicate) through() int64 {
	if p.End == math.MaxInt64 {
		return p.End
	}
	return p.End + 1
}

// overlaps tells whether the predicate may name rows from lo to hi, inclusive.
func (p *Predicate) overlaps(lo, hi int64) bool { return p.Start <= hi && lo <= p.End }

// matches tells whether it is about a stream.
func (p *Predicate) matches(ls labels.Labels) bool {
	for _, m := range p.Matchers {
		if !m.Matches(ls.Get(m.Name)) {
			return false
		}
	}
	return true
}

// remover takes the rows that predicates name out of batches. One goroutine uses it at a time.
type remover struct {
	predicates []*Predicate
	workers    []*pipeline.Worker
	drop       []bool // of the page
}

func newRemover(ps []*Predicate) *remover {
	return &remover{predicates: ps, workers: make([]*pipeline.Worker, len(ps))}
}

// workerGroups is the number of label sets after which a worker, which remembers them, is replaced.
const workerGroups = 10_000

// narrow implements narrower.
func (r *remover) narrow(ctx context.Context, b *column.Batch, start, end int64) (dropped int64, err error) {
	marked := false
	for i, p := range r.predicates {
		if !p.overlaps(b.MinTime, b.MaxTime) {
			continue
		}
		sub := *b
		sub.Runs = nil
		for _, run := range b.Runs {
			if p.overlaps(run.MinTime, run.MaxTime) && p.matches(run.Stream.Labels) {
				sub.Runs = append(sub.Runs, run)
			}
		}
		if len(sub.Runs) == 0 {
			continue
		}
		if !marked {
			r.drop = slices.Grow(r.drop[:0], b.Rows())[:b.Rows()]
			clear(r.drop)
			marked = true
		}
		if w := r.workers[i]; w == nil || w.Groups() > workerGroups {
			r.workers[i] = p.pipeline.Worker()
		}
		err := r.workers[i].Run(ctx, &sub, max(start, p.Start), min(end, p.through()), func(row *pipeline.Row) bool {
			if !r.drop[row.Index] {
				r.drop[row.Index] = true
				dropped++
			}
			return true
		})
		if err != nil {
			return 0, fmt.Errorf("delete request %s: %w", p.id, err)
		}
	}
	if dropped == 0 {
		return 0, nil
	}
	return dropped, splitRuns(ctx, b, r.drop)
}

// splitRuns leaves the rows out of the runs of b that are marked.
func splitRuns(ctx context.Context, b *column.Batch, drop []bool) error {
	times, err := b.Times(ctx)
	if err != nil {
		return err
	}
	lengths, err := b.LineLengths(ctx)
	if err != nil {
		return err
	}
	var runs []column.Run
	var rows, kept, raw int64
	for _, run := range b.Runs {
		rows += int64(run.To - run.From)
		for from := run.From; from < run.To; {
			if drop[from] {
				from++
				continue
			}
			to := from
			for to < run.To && !drop[to] {
				raw += int64(lengths[to])
				to++
			}
			kept += int64(to - from)
			part := run
			part.From, part.To, part.MinTime, part.MaxTime = from, to, times[from], times[to-1]
			runs = append(runs, part)
			from = to
		}
	}
	// MinTime and MaxTime of the batch stay: they bound the runs, and keep its place in the sequence.
	b.Runs, b.RawBytes = runs, raw
	if rows > 0 {
		b.MetadataBytes = int64(float64(b.MetadataBytes) / float64(rows) * float64(kept))
	}
	return nil
}

// expirer takes out rows that are older than the period of their stream.
type expirer struct {
	rules *rules
	now   int64
}

// narrow implements narrower.
func (e *expirer) narrow(ctx context.Context, b *column.Batch, _, _ int64) (int64, error) {
	cut := func(run *column.Run) (int64, bool) {
		period := e.rules.period(run.Stream.Labels)
		return e.now - period, period > 0 && run.MinTime < e.now-period
	}
	if !slices.ContainsFunc(b.Runs, func(r column.Run) bool { _, some := cut(&r); return some }) {
		return 0, nil
	}
	times, err := b.Times(ctx)
	if err != nil {
		return 0, err
	}
	runs := make([]column.Run, 0, len(b.Runs))
	for _, run := range b.Runs {
		if limit, some := cut(&run); some {
			part := times[run.From:run.To]
			run.From += sort.Search(len(part), func(i int) bool { return part[i] >= limit })
			if run.From == run.To {
				continue
			}
			run.MinTime = times[run.From]
		}
		runs = append(runs, run)
	}
	b.Runs = runs
	return 0, nil
}
