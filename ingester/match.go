package ingester

import (
	"context"
	"slices"
	"sync"

	"github.com/prometheus/prometheus/model/labels"
)

// headIndex finds streams of a part by their labels. Streams are entered when somebody asks, those that came
// since the last time: a part that is never asked for costs nothing, and a push does not wait for it.
type headIndex struct {
	mu      sync.Mutex
	entered int // streams that the index knows
	names   map[string]*nameIndex
	lists   [][]uint32
}

// nameIndex holds the streams that have a label, by its value.
type nameIndex struct {
	values  map[string]posting
	streams int
}

// posting is the streams that have a label with some value, as indexes into part.streams. Most values that there are
// very many of belong to one stream each, which needs no list.
type posting struct {
	first uint32
	list  int32 // 1 + the index in headIndex.lists of all of them, ascending; 0: first is the only one
}

func (x *headIndex) of(p posting) []uint32 {
	if p.list == 0 {
		return []uint32{p.first}
	}
	return x.lists[p.list-1]
}

func (x *headIndex) size(p posting) int {
	if p.list == 0 {
		return 1
	}
	return len(x.lists[p.list-1])
}

// enter adds streams that the index does not know yet. x.mu must be held.
func (x *headIndex) enter(streams []*stream) {
	for n := x.entered; n < len(streams); n++ {
		streams[n].Labels.Range(func(l labels.Label) {
			idx := x.names[l.Name]
			if idx == nil {
				if x.names == nil {
					x.names = make(map[string]*nameIndex)
				}
				idx = &nameIndex{values: make(map[string]posting)}
				x.names[l.Name] = idx
			}
			idx.streams++
			p, ok := idx.values[l.Value]
			switch {
			case !ok:
				idx.values[l.Value] = posting{first: uint32(n)}
			case p.list == 0:
				x.lists = append(x.lists, []uint32{p.first, uint32(n)})
				idx.values[l.Value] = posting{first: p.first, list: int32(len(x.lists))}
			default:
				// Readers may hold the list as it was: it is only appended to.
				x.lists[p.list-1] = append(x.lists[p.list-1], uint32(n))
			}
		})
	}
	x.entered = max(x.entered, len(streams))
}

// match returns the streams that match all matchers, as indexes into p.streams, ascending. Matchers of a label that a
// stream does not have see the empty string.
func (p *part) match(ctx context.Context, t *tenant, matchers []*labels.Matcher) ([]uint32, error) {
	t.mu.RLock()
	streams := p.streams
	t.mu.RUnlock()
	var candidates []uint32
	by := -1 // the matcher that they come from
	if len(matchers) > 0 {
		candidates, by = p.index.candidates(streams, matchers)
	}
	// Others may have entered streams that were not there yet when this look was taken.
	known, _ := slices.BinarySearch(candidates, uint32(len(streams)))
	candidates = candidates[:known]
	if by < 0 {
		candidates = make([]uint32, len(streams))
		for n := range candidates {
			candidates[n] = uint32(n)
		}
	}
	rest := make([]*labels.Matcher, 0, len(matchers))
	for n, m := range matchers {
		if n != by {
			rest = append(rest, m)
		}
	}
	if len(rest) == 0 {
		return candidates, ctx.Err()
	}
	var out []uint32
	for n, c := range candidates {
		if n%atOnce == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		ls := streams[c].Labels
		if !slices.ContainsFunc(rest, func(m *labels.Matcher) bool { return !m.Matches(ls.Get(m.Name)) }) {
			out = append(out, c)
		}
	}
	return out, ctx.Err()
}

// candidates returns the streams that match the matcher which promises to be the narrowest, ascending, and the number of
// the matcher; it is -1 if the index does not help. The result must not be changed.
func (x *headIndex) candidates(streams []*stream, matchers []*labels.Matcher) ([]uint32, int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.enter(streams)
	by, least, work := -1, 0, 0
	for n, m := range matchers {
		if m.Matches("") {
			continue
		}
		idx := x.names[m.Name]
		if idx == nil {
			return nil, n
		}
		size, values := idx.streams, len(idx.values)
		if words, ok := wordsOf(m); ok {
			size, values = 0, len(words)
			for _, w := range words {
				if p, ok := idx.values[w]; ok {
					size += x.size(p)
				}
			}
		}
		if by < 0 || size < least || size == least && values < work {
			by, least, work = n, size, values
		}
	}
	if by < 0 {
		return nil, -1
	}
	return x.matching(matchers[by]), by
}

// matching returns the streams that match a matcher which does not match the empty string, ascending.
func (x *headIndex) matching(m *labels.Matcher) []uint32 {
	idx := x.names[m.Name]
	var out []uint32
	lists := 0
	add := func(p posting) {
		list := x.of(p)
		if lists++; lists == 1 {
			out = list[:len(list):len(list)]
		} else {
			out = append(out, list...)
		}
	}
	if words, ok := wordsOf(m); ok {
		for _, w := range words {
			if p, ok := idx.values[w]; ok {
				add(p)
			}
		}
	} else {
		for v, p := range idx.values {
			if m.Matches(v) {
				add(p)
			}
		}
	}
	if lists > 1 {
		slices.Sort(out)
		out = slices.Compact(out)
	}
	return out
}

// wordsOf returns the values that an equality, or a regular expression that is a list of words, names.
func wordsOf(m *labels.Matcher) ([]string, bool) {
	switch m.Type {
	case labels.MatchEqual:
		return []string{m.Value}, true
	case labels.MatchRegexp:
		if set := m.SetMatches(); len(set) > 0 {
			return set, true
		}
	}
	return nil, false
}
