package logql

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/syntax"
)

// Enough tells that no task after those that gave the partials can change the answer: a limited log
// query whose limit is met. Tasks must be run in the direction of the query for it to be right.
func (p *Plan) Enough(leaf int, partials []*Partial) bool {
	if leaf < 0 || leaf >= len(p.Leaves) || !p.Leaves[leaf].Ordered {
		return false
	}
	n := 0
	for _, part := range partials {
		n += len(part.entries)
	}
	if n < p.Params.Limit || p.Params.Interval == 0 {
		return n >= p.Params.Limit
	}
	return len(spaced(p.sorted(partials), int64(p.Params.Interval))) >= p.Params.Limit
}

// Finish merges the partials of each leaf, of which partials has one list each, and evaluates the
// rest of the query. It changes no partial.
func (p *Plan) Finish(ctx context.Context, partials [][]*Partial, o Options) (*Result, error) {
	if len(partials) != len(p.Leaves) {
		return nil, fmt.Errorf("logql: partials of %d leaves, the query has %d", len(partials), len(p.Leaves))
	}
	var stats Stats
	for i, leaf := range partials {
		for _, part := range leaf {
			if part == nil {
				return nil, fmt.Errorf("logql: a partial of leaf %d is missing", i)
			}
			stats.Add(part.Stats)
		}
	}
	var res *Result
	var err error
	if m, ok := p.Expr.(syntax.MetricExpr); ok {
		ev := &evaluator{plan: p, partials: partials, budget: &budget{limit: o.MaxMemory}, done: map[int][]series{}}
		res, err = ev.result(ctx, m, o)
	} else {
		res = p.finishLog(partials[0])
	}
	if err != nil {
		return nil, err
	}
	stats.Returned = 0
	for _, s := range res.Streams {
		stats.Returned += int64(len(s.Entries))
	}
	for _, s := range res.Series {
		stats.Returned += int64(len(s.Points))
	}
	if res.Type == ResultScalar {
		stats.Returned = 1
	}
	res.Stats = stats
	return res, nil
}

// sorted returns the entries of partials in the direction of the query. Equal times lie in one
// partial, where they have their order already.
func (p *Plan) sorted(partials []*Partial) []entry {
	var all []entry
	for _, part := range partials {
		all = append(all, part.entries...)
	}
	slices.SortStableFunc(all, func(a, b entry) int { return compareTime(a.time, b.time, p.Params.Direction) })
	return all
}

func (p *Plan) finishLog(partials []*Partial) *Result {
	all := p.sorted(partials)
	if p.Params.Interval > 0 {
		all = spaced(all, int64(p.Params.Interval))
	}
	if p.Params.Limit > 0 && len(all) > p.Params.Limit {
		all = all[:p.Params.Limit]
	}
	res := &Result{Type: ResultStreams}
	ids := newLabelSet()
	for _, e := range all {
		id, added := ids.id(e.labels)
		if added {
			res.Streams = append(res.Streams, StreamResult{Labels: e.labels})
		}
		s := &res.Streams[id]
		s.Entries = append(s.Entries, EntryResult{Time: e.time, Line: e.line, Metadata: e.metadata, Parsed: e.parsed})
	}
	slices.SortFunc(res.Streams, func(a, b StreamResult) int { return labels.Compare(a.Labels, b.Labels) })
	return res
}

// labelSet numbers label sets.
type labelSet struct {
	byHash map[uint64][]int
	all    []labels.Labels
}

func newLabelSet() *labelSet { return &labelSet{byHash: map[uint64][]int{}} }

// id returns the number of ls, which is the next one if it is new.
func (s *labelSet) id(ls labels.Labels) (id int, added bool) {
	h := ls.Hash()
	for _, id := range s.byHash[h] {
		if labels.Equal(s.all[id], ls) {
			return id, false
		}
	}
	id = len(s.all)
	s.byHash[h] = append(s.byHash[h], id)
	s.all = append(s.all, ls)
	return id, true
}

// Query runs a whole query over one source in this goroutine's process. It is what a frontend does
// with more machinery.
func Query(ctx context.Context, params Params, src Source, o Options) (*Result, error) {
	start := time.Now()
	p, err := NewPlan(params)
	if err != nil {
		return nil, err
	}
	partials := make([][]*Partial, len(p.Leaves))
	for i := range p.Leaves {
		part, err := p.Execute(ctx, Task{Params: params, Leaf: i, From: math.MinInt64, Through: math.MaxInt64}, src, o)
		if err != nil {
			return nil, err
		}
		partials[i] = []*Partial{part}
	}
	res, err := p.Finish(ctx, partials, o)
	if err != nil {
		return nil, err
	}
	res.Stats.ExecTime = time.Since(start)
	return res, nil
}
