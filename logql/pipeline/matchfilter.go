package pipeline

import (
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/column"
	"example.com/loki/logql/syntax"
)

// matchFilter is a label filter that compares strings only and stands where the labels of a row are
// those of its stream and its structured metadata. It is decided once for a run, or once for each
// value of a dictionary, and can neither fail nor set an error.
type matchFilter struct {
	op          matchOp
	left, right *matchFilter    // of and, or
	matcher     *labels.Matcher // of match
	base        string          // name without clashSuffix, if it ends with that
	leaf        int             // numbers the match filters of a tree
	leaves      int             // of the root
}

type matchOp uint8

const (
	matchLeaf matchOp = iota
	matchAnd
	matchOr
)

// newMatchFilter returns nil if f is not such a filter.
func newMatchFilter(f syntax.LabelFilter) *matchFilter {
	n := 0
	m := buildMatchFilter(f, &n)
	if m != nil {
		m.leaves = n
	}
	return m
}

func buildMatchFilter(f syntax.LabelFilter, n *int) *matchFilter {
	pair := func(op matchOp, l, r syntax.LabelFilter) *matchFilter {
		left := buildMatchFilter(l, n)
		if left == nil {
			return nil
		}
		right := buildMatchFilter(r, n)
		if right == nil {
			return nil
		}
		return &matchFilter{op: op, left: left, right: right}
	}
	switch f := f.(type) {
	case *syntax.AndFilter:
		return pair(matchAnd, f.Left, f.Right)
	case *syntax.OrFilter:
		return pair(matchOr, f.Left, f.Right)
	case *syntax.MatchFilter:
		if isErrorLabel(f.Matcher.Name) {
			return nil
		}
		m := &matchFilter{matcher: f.Matcher, leaf: *n}
		if base, ok := strings.CutSuffix(f.Matcher.Name, clashSuffix); ok {
			m.base = base
		}
		*n++
		return m
	}
	return nil
}

// names appends the names of the labels that the filter compares.
func (f *matchFilter) names(dst []string) []string {
	if f.op != matchLeaf {
		return f.right.names(f.left.names(dst))
	}
	return append(dst, f.matcher.Name)
}

func isErrorLabel(name string) bool { return name == labelError || name == labelErrorDetails }

// verdict is what is known of a condition for some rows.
type verdict uint8

const (
	depends verdict = iota // on the row
	holds
	fails
)

func verdictOf(ok bool) verdict {
	if ok {
		return holds
	}
	return fails
}

// boundLeaf is a match filter in a run.
type boundLeaf struct {
	fixed   verdict
	missing bool // the result where a row has no value
	cols    [2]boundColumn
}

// boundColumn is a dictionary with what the filter says to each value, as far as it was asked.
type boundColumn struct {
	column.Metadata
	known []verdict
}

// filterRun adds the rows of s, all of one stream, that pass the leading label filters.
func (w *Worker) filterRun(st *column.Stream, s span) error {
	w.pure = w.pure[:0]
	for i, f := range w.p.pure {
		leaves := w.leaves[i]
		clear(leaves)
		if err := w.bind(f, st, leaves); err != nil {
			return err
		}
		switch f.known(leaves) {
		case fails:
			return nil
		case depends:
			w.pure = append(w.pure, boundFilter{f, leaves})
		}
	}
	if len(w.pure) == 0 {
		w.spans = appendSpan(w.spans, s)
		return nil
	}
rows:
	for i := s.lo; i < s.hi; i++ {
		for _, b := range w.pure {
			if !b.filter.eval(b.leaves, i) {
				continue rows
			}
		}
		w.spans = appendSpan(w.spans, span{i, i + 1})
	}
	return nil
}

type boundFilter struct {
	filter *matchFilter
	leaves []boundLeaf
}

// bind finds out where the values of a run's rows come from.
func (w *Worker) bind(f *matchFilter, st *column.Stream, leaves []boundLeaf) error {
	if f.op != matchLeaf {
		if err := w.bind(f.left, st, leaves); err != nil {
			return err
		}
		return w.bind(f.right, st, leaves)
	}
	b := &leaves[f.leaf]
	name := f.matcher.Name
	if st.Labels.Has(name) {
		b.fixed = verdictOf(f.matcher.Matches(st.Labels.Get(name)))
		return nil
	}
	b.missing = f.matcher.Matches("")
	n := 0
	add := func(name string) error {
		col, err := w.metadata(name)
		if err == nil && col.Index != nil {
			b.cols[n] = boundColumn{col, w.verdicts(f, name, len(col.Values))}
			n++
		}
		return err
	}
	if err := add(name); err != nil {
		return err
	}
	if f.base != "" && st.Labels.Has(f.base) {
		if err := add(f.base); err != nil {
			return err
		}
	}
	if n == 0 {
		b.fixed = verdictOf(b.missing)
	}
	return nil
}

// verdictKey names the verdicts of a filter on the values of a column.
type verdictKey struct {
	filter *matchFilter
	column string
}

// verdicts returns what the filter said to the values of a column in other runs of the batch.
func (w *Worker) verdicts(f *matchFilter, name string, n int) []verdict {
	k := verdictKey{f, name}
	if v, ok := w.judged[k]; ok {
		return v
	}
	if w.judged == nil {
		w.judged = map[verdictKey][]verdict{}
	}
	v := make([]verdict, n)
	w.judged[k] = v
	return v
}

// known evaluates what is the same for all rows of the run.
func (f *matchFilter) known(leaves []boundLeaf) verdict {
	switch f.op {
	case matchLeaf:
		return leaves[f.leaf].fixed
	case matchAnd:
		l, r := f.left.known(leaves), f.right.known(leaves)
		if l == fails || r == fails {
			return fails
		}
		if l == holds && r == holds {
			return holds
		}
	case matchOr:
		l, r := f.left.known(leaves), f.right.known(leaves)
		if l == holds || r == holds {
			return holds
		}
		if l == fails && r == fails {
			return fails
		}
	}
	return depends
}

func (f *matchFilter) eval(leaves []boundLeaf, row int) bool {
	switch f.op {
	case matchAnd:
		return f.left.eval(leaves, row) && f.right.eval(leaves, row)
	case matchOr:
		return f.left.eval(leaves, row) || f.right.eval(leaves, row)
	}
	b := &leaves[f.leaf]
	if b.fixed != depends {
		return b.fixed == holds
	}
	for i := range b.cols {
		c := &b.cols[i]
		if c.Index == nil {
			break
		}
		v := c.Index[row]
		if v == 0 {
			continue
		}
		k := &c.known[v-1]
		if *k == depends {
			*k = verdictOf(f.matcher.Matches(text(c.Values[v-1])))
		}
		return *k == holds
	}
	return b.missing
}
