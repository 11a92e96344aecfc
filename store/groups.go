package store

import (
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/column"
)

// groups are stretches of streams of a segment that agree in the labels that a query looks at. They are found in the columns
// of the index, without making label sets.
type groups struct {
	columns []*labelColumn
	starts  []uint32 // first stream of each, ascending

	// The group that was asked for last.
	start  uint32
	stream *column.Stream
}

// group returns the groups by labels of these names.
func (x *segIndex) group(names []string) *groups {
	g := &groups{starts: []uint32{0}}
	for _, name := range names {
		c := x.column(name)
		if c == nil {
			continue
		}
		g.columns = append(g.columns, c)
		var starts []uint32
		c.each(streamRange{0, uint32(x.streams)}, func(from, to, _, step uint32) {
			if step == 0 {
				to = from + 1
			}
			for s := from; s < to; s++ {
				starts = append(starts, s)
			}
		})
		g.starts = union(g.starts, starts)
	}
	// The labels of a set ascend by name.
	slices.SortFunc(g.columns, func(a, b *labelColumn) int { return strings.Compare(a.name, b.name) })
	g.columns = slices.Compact(g.columns)
	return g
}

// union merges two ascending lists.
func union(a, b []uint32) []uint32 {
	if len(a) == 1 && len(b) > 0 && a[0] == b[0] {
		return b
	}
	out := make([]uint32, 0, max(len(a), len(b)))
	for len(a) > 0 && len(b) > 0 {
		next := min(a[0], b[0])
		out = append(out, next)
		if a[0] == next {
			a = a[1:]
		}
		if b[0] == next {
			b = b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// of returns the group of a stream: the first stream of it, and the first one behind it.
func (g *groups) of(stream int) (start, end int) {
	n := sort.Search(len(g.starts), func(i int) bool { return int(g.starts[i]) > stream })
	if n == len(g.starts) {
		return int(g.starts[n-1]), maxStreams
	}
	return int(g.starts[n-1]), int(g.starts[n])
}

// maxStreams is more than the number of any stream.
const maxStreams = math.MaxInt32

// show returns the stream that stands for the group of a stream: it has the labels that all of them have alike.
func (g *groups) show(stream int) *column.Stream {
	start, _ := g.of(stream)
	if g.stream != nil && g.start == uint32(start) {
		return g.stream
	}
	var b labels.ScratchBuilder
	for _, c := range g.columns {
		if v := c.of(start); v > 0 {
			b.Add(c.name, c.value(v))
		}
	}
	g.start, g.stream = uint32(start), column.NewStream(b.Labels())
	return g.stream
}
