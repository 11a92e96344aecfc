package pipeline

import (
	"encoding/binary"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/column"
)

// groupTable numbers the label sets that rows are grouped by.
type groupTable struct {
	p       *Pipeline
	names   []string // of a by clause, or of a without clause
	without map[string]bool
	byError bool // __error__ is among the names of a by clause
	byRow   bool // that or __error_details__, which differ from row to row

	sets    []labels.Labels
	byKey   keyTable // by what was seen in a row, in the order it was seen
	bySet   map[uint64][]int
	streams map[uint64][]streamID
	nextID  uint64

	// Of the run.
	runGroup int   // group of all rows, or -1
	column   int   // the only structured metadata that decides, or -1
	byValue  []int // group by place in its dictionary, -1 where not known
	runID    uint64

	tally tally
}

type streamID struct {
	stream *column.Stream
	id     uint64
}

func (g *groupTable) init(p *Pipeline) {
	g.p = p
	g.bySet = map[uint64][]int{}
	g.streams = map[uint64][]streamID{}
	g.names = slices.Clone(p.opts.Group.Names)
	slices.Sort(g.names)
	g.names = slices.Compact(g.names)
	if p.opts.Group.Without {
		g.without = map[string]bool{}
		for _, n := range g.names {
			g.without[n] = true
		}
	} else {
		g.byError = slices.Contains(g.names, labelError)
		g.byRow = slices.ContainsFunc(g.names, isErrorLabel)
	}
}

// Group returns the labels of a group number. They stay valid as long as the worker.
func (w *Worker) Group(n int) labels.Labels { return w.groups.sets[n] }

// Groups is how many groups there are.
func (w *Worker) Groups() int { return len(w.groups.sets) }

// startRun finds out what decides the groups of a run's rows.
func (g *groupTable) startRun(w *Worker) {
	g.runGroup, g.column = -1, -1
	p := g.p
	w.err, w.details, w.meta = "", "", true // what decides for a whole run is the stream alone
	if g.without != nil {
		g.runID = g.idOf(w.stream)
		if !p.changes && p.opts.Categorize || !p.changes && !p.parses && len(w.metas) == 0 && !w.mayFail() {
			g.runGroup = g.of(w)
		}
		return
	}
	if len(g.names) == 0 {
		g.runGroup = g.of(w)
		return
	}
	if p.changes || g.byRow {
		return
	}
	fixed := true
	for _, name := range g.names {
		if w.stream.Labels.Has(name) {
			continue
		}
		if p.parses {
			return
		}
		for i := range w.metas {
			if w.metas[i].runName == name {
				if !fixed {
					g.column = -1
					return
				}
				g.column, fixed = i, false
			}
		}
	}
	if fixed {
		g.runGroup = g.of(w)
		return
	}
	// Worth it only if the dictionary is no larger than the run.
	r := &w.batch.Runs[w.run]
	n := len(w.metas[g.column].Values) + 1
	if n > r.To-r.From {
		g.column = -1
		return
	}
	g.byValue = slices.Grow(g.byValue[:0], n)[:n]
	for i := range g.byValue {
		g.byValue[i] = -1
	}
}

// mayFail tells whether rows can get an error, which shows among their labels.
func (w *Worker) mayFail() bool { return len(w.runners) > 0 || w.p.opts.Unwrap != nil }

// idOf numbers the streams.
func (g *groupTable) idOf(s *column.Stream) uint64 {
	for _, c := range g.streams[s.Hash] {
		if c.stream == s || labels.Equal(c.stream.Labels, s.Labels) {
			return c.id
		}
	}
	g.nextID++
	g.streams[s.Hash] = append(g.streams[s.Hash], streamID{s, g.nextID})
	return g.nextID
}

// of returns the group of the current row.
func (g *groupTable) of(w *Worker) int {
	if g.runGroup >= 0 {
		return g.runGroup
	}
	if g.column >= 0 {
		v := w.metas[g.column].Index[w.row]
		if n := g.byValue[v]; n >= 0 {
			return n
		}
		w.loadRow()
		n := g.byNames(w)
		g.byValue[v] = n
		return n
	}
	w.loadRow()
	if g.without != nil {
		return g.byAll(w)
	}
	return g.byNames(w)
}

func appendPart(key []byte, s string) []byte {
	key = binary.AppendUvarint(key, uint64(len(s)))
	return append(key, s...)
}

// byNames groups by the values of some labels; an empty one is as good as none.
func (g *groupTable) byNames(w *Worker) int {
	key := g.nameKey(w)
	if n, ok := g.byKey.get(key); ok {
		return n
	}
	n := g.intern(g.ofKey(key))
	g.byKey.add(key, n)
	return n
}

// nameKey returns the values of the labels that rows are grouped by, valid until the next call.
func (g *groupTable) nameKey(w *Worker) []byte {
	w.key = w.key[:0]
	for _, name := range g.names {
		w.key = appendPart(w.key, w.groupValue(name))
	}
	return w.key
}

// ofKey returns the labels that a key of nameKey stands for.
func (g *groupTable) ofKey(key []byte) labels.Labels {
	b := labels.NewScratchBuilder(len(g.names))
	for _, name := range g.names {
		n, at := binary.Uvarint(key)
		if n > 0 {
			b.Add(name, string(key[at:at+int(n)]))
		}
		key = key[at+int(n):]
	}
	b.Sort()
	return b.Labels()
}

func (w *Worker) groupValue(name string) string {
	switch {
	case name == labelError && w.err != "":
		return w.err
	case name == labelErrorDetails && w.details != "":
		return w.details
	}
	v, _ := w.labels.get(name)
	return v
}

// byAll groups by all labels but some. The key is made of the labels in the order they came in, so a
// set may have several keys; intern finds that they are one.
func (g *groupTable) byAll(w *Worker) int {
	key := binary.AppendUvarint(w.key[:0], g.runID)
	s := &w.labels
	from := s.streams
	if s.dirty { // a stage changed labels of the stream: they no longer follow from its number
		from = 0
		key = append(key, 0)
	} else {
		key = append(key, 1)
	}
	for i := from; i < len(s.list); i++ {
		if l := &s.list[i]; !l.gone && g.counts(w, l) {
			key = appendPart(appendPart(key, l.name), l.value)
		}
	}
	if w.err != "" || w.details != "" {
		key = append(appendPart(append(key, 0), w.err), w.details...)
	}
	w.key = key
	if n, ok := g.byKey.get(key); ok {
		return n
	}
	n := g.intern(w.build(func(l *label) bool { return g.counts(w, l) }, !g.p.opts.Categorize))
	g.byKey.add(key, n)
	return n
}

// counts tells whether rows are grouped by a label.
func (g *groupTable) counts(w *Worker, l *label) bool {
	return !g.without[l.name] && (l.origin == fromStream || !g.p.opts.Categorize)
}

// intern returns the number of a label set. Where groups are only asked for their labels, equal ones may have several.
func (g *groupTable) intern(ls labels.Labels) int {
	if g.p.opts.LazyGroup {
		g.sets = append(g.sets, ls)
		return len(g.sets) - 1
	}
	h := ls.Hash()
	for _, n := range g.bySet[h] {
		if labels.Equal(g.sets[n], ls) {
			return n
		}
	}
	n := len(g.sets)
	g.sets = append(g.sets, ls)
	g.bySet[h] = append(g.bySet[h], n)
	return n
}
