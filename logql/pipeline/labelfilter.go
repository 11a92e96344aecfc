package pipeline

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/syntax"
)

const errLabelFilter = "LabelFilterErr"

// labelFilter is a condition on the labels of a row.
type labelFilter interface {
	// matches tells whether the row passes. A value that cannot be converted lets it pass with an
	// error.
	matches(w *Worker) bool
	prepare(n *needs)
}

// labelFilterStage drops the rows that don't match.
type labelFilterStage struct{ filter labelFilter }

func (s labelFilterStage) prepare(n *needs)      { s.filter.prepare(n) }
func (s labelFilterStage) runner(*Worker) runner { return s }
func (s labelFilterStage) run(w *Worker) bool    { return s.filter.matches(w) }

func newLabelFilter(f syntax.LabelFilter) (labelFilter, error) {
	switch f := f.(type) {
	case *syntax.AndFilter:
		l, r, err := newLabelFilters(f.Left, f.Right)
		return &andFilter{l, r}, err
	case *syntax.OrFilter:
		l, r, err := newLabelFilters(f.Left, f.Right)
		return &orFilter{l, r}, err
	case *syntax.MatchFilter:
		if f.Matcher.Name == labelError {
			return &errorFilter{f.Matcher}, nil
		}
		return &stringFilter{f.Matcher}, nil
	case *syntax.NumberFilter:
		return &numberFilter[float64]{f.Name, f.Op, f.Value, parseNumber}, nil
	case *syntax.DurationFilter:
		return &numberFilter[time.Duration]{f.Name, f.Op, f.Value, time.ParseDuration}, nil
	case *syntax.BytesFilter:
		return &numberFilter[uint64]{f.Name, f.Op, f.Value, parseBytes}, nil
	case *syntax.IPFilter:
		m, err := newIPMatcher(f.Range)
		if err != nil {
			return nil, err
		}
		if f.Op != syntax.OpEqual && f.Op != syntax.OpNotEqual {
			return nil, fmt.Errorf("ip: only = and != can be used")
		}
		return &ipFilter{f.Name, f.Op == syntax.OpNotEqual, m}, nil
	}
	return nil, fmt.Errorf("label filter of unknown type %T", f)
}

func newLabelFilters(l, r syntax.LabelFilter) (left, right labelFilter, err error) {
	if left, err = newLabelFilter(l); err != nil {
		return nil, nil, err
	}
	right, err = newLabelFilter(r)
	return left, right, err
}

type andFilter struct{ left, right labelFilter }

func (f *andFilter) matches(w *Worker) bool { return f.left.matches(w) && f.right.matches(w) }
func (f *andFilter) prepare(n *needs)       { f.left.prepare(n); f.right.prepare(n) }

type orFilter struct{ left, right labelFilter }

func (f *orFilter) matches(w *Worker) bool { return f.left.matches(w) || f.right.matches(w) }
func (f *orFilter) prepare(n *needs)       { f.left.prepare(n); f.right.prepare(n) }

// stringFilter compares a label; one that is missing is as good as an empty one.
type stringFilter struct{ matcher *labels.Matcher }

func (f *stringFilter) matches(w *Worker) bool {
	v, _ := w.labels.get(f.matcher.Name)
	return f.matcher.Matches(v)
}
func (f *stringFilter) prepare(n *needs) { n.add(f.matcher.Name) }

// errorFilter compares the row's own error. A field that happens to be called __error__ doesn't count.
type errorFilter struct{ matcher *labels.Matcher }

func (f *errorFilter) matches(w *Worker) bool { return f.matcher.Matches(w.err) }
func (f *errorFilter) prepare(n *needs)       { n.errors = true }

// beyondNumbers tells that a stage could not do its work on the row, so that number-like filters say
// nothing about it. A filter that could not convert its own label says nothing about other labels.
func (w *Worker) beyondNumbers() bool { return w.err != "" && w.err != errLabelFilter }

// numberFilter compares a label as a number, a duration or a size.
type numberFilter[T float64 | time.Duration | uint64] struct {
	name  string
	op    syntax.CompareOp
	value T
	parse func(string) (T, error)
}

func (f *numberFilter[T]) matches(w *Worker) bool {
	if w.beyondNumbers() {
		return true
	}
	s, ok := w.labels.get(f.name)
	if !ok {
		return false
	}
	v, err := f.parse(s)
	if err != nil {
		w.setError(errLabelFilter, err.Error(), false)
		return true
	}
	switch f.op {
	case syntax.OpEqual:
		return v == f.value
	case syntax.OpNotEqual:
		return v != f.value
	case syntax.OpGreater:
		return v > f.value
	case syntax.OpGreaterEqual:
		return v >= f.value
	case syntax.OpLess:
		return v < f.value
	}
	return v <= f.value
}
func (f *numberFilter[T]) prepare(n *needs) { n.add(f.name) }

func parseNumber(s string) (float64, error) {
	if len(s) == 0 || len(s) > 15 { // beyond that, a float64 may not be exact
		return strconv.ParseFloat(s, 64)
	}
	n := 0
	for i := range len(s) {
		c := s[i] - '0'
		if c > 9 {
			return strconv.ParseFloat(s, 64)
		}
		n = 10*n + int(c)
	}
	return float64(n), nil
}

// ipFilter tells whether a label is an address of a range.
type ipFilter struct {
	name    string
	negated bool
	ips     ipMatcher
}

func (f *ipFilter) matches(w *Worker) bool {
	if w.beyondNumbers() {
		return true
	}
	s, ok := w.labels.get(f.name)
	if !ok {
		return false
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return f.ips.inText(s) != f.negated
	}
	return f.ips.contains(a) != f.negated
}
func (f *ipFilter) prepare(n *needs) { n.add(f.name) }
