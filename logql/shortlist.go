package logql

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/prometheus/model/labels"
)

// shortlist holds the first limit entries that the goroutines of a task have seen, each of which may use it.
type shortlist struct {
	direction Direction
	limit     int // 0: none
	mem       *budget

	// edge is the time of the last entry of a full list: no row beyond it can be among the first limit any more.
	edge atomic.Int64

	mu   sync.Mutex
	kept []*found // in the order of the query, without doubles; guarded by mu
	next []*found // scratch for kept ones; guarded by mu
}

func newShortlist(d Direction, limit int, mem *budget) *shortlist {
	l := &shortlist{direction: d, limit: limit, mem: mem}
	l.edge.Store(math.MinInt64)
	if d == Forward {
		l.edge.Store(math.MaxInt64)
	}
	return l
}

// within narrows a range of times to what can still be in the list.
func (l *shortlist) within(from, through int64) (int64, int64) {
	if l.direction == Backward {
		return max(from, l.edge.Load()), through
	}
	return from, min(through, addTime(l.edge.Load(), 1))
}

// beyond tells that no entry of that time belongs into the list.
func (l *shortlist) beyond(time int64) bool {
	return compareTime(time, l.edge.Load(), l.direction) > 0
}

// add enters entries, which it puts in order, as far as they belong there: of doubles the first to have arrived does.
// Entries that are not on the list any more give back what they took of the budget.
func (l *shortlist) add(fresh []*found) {
	if len(fresh) == 0 {
		return
	}
	slices.SortFunc(fresh, func(a, b *found) int { return a.compare(b, l.direction) })
	l.mu.Lock()
	defer l.mu.Unlock()
	// What comes before all fresh ones stays where it is: mostly that is nearly all.
	all := l.kept
	at, _ := slices.BinarySearchFunc(all, fresh[0].time, func(f *found, t int64) int { return compareTime(f.time, t, l.direction) })
	kept, next := append(l.next[:0], all[at:]...), all[:at]
	// Doubles have the same time and stream: they are among those from which on that is so.
	keptSame, freshSame := 0, 0
	k, n := 0, 0
	for k < len(kept) || n < len(fresh) {
		var f *found
		isFresh := k == len(kept) || n < len(fresh) && fresh[n].compare(kept[k], l.direction) < 0
		if isFresh {
			f = fresh[n]
		} else {
			f = kept[k]
		}
		if l.limit > 0 && len(next) >= l.limit {
			l.drop(kept[k:])
			l.drop(fresh[n:])
			break
		}
		if len(next) == 0 || !next[len(next)-1].together(f) {
			keptSame, freshSame = k, n
		}
		if f.shared && (f.isAmong(fresh[freshSame:n]) || isFresh && f.isAmong(kept[keptSame:k])) {
			l.mem.give(f.size)
			f.gone = true
		} else {
			next = append(next, f)
		}
		if isFresh {
			n++
		} else {
			k++
		}
	}
	clear(kept) // they may be on the list no longer
	clear(all[min(len(next), len(all)):])
	l.kept, l.next = next, kept[:0]
	if l.limit > 0 && len(next) >= l.limit {
		l.edge.Store(next[len(next)-1].time)
	}
}

// drop needs l.mu.
func (l *shortlist) drop(some []*found) {
	for _, f := range some {
		l.mem.give(f.size)
		f.gone = true
	}
}

// together tells whether two entries could be doubles: of one time and stream.
func (f *found) together(o *found) bool {
	return f.time == o.time && labels.Equal(f.stream, o.stream)
}

// isAmong tells whether a double of the entry is among others of its time and stream.
func (f *found) isAmong(others []*found) bool {
	return slices.ContainsFunc(others, func(o *found) bool { return o.shared && o.hash == f.hash })
}

// heldBy returns the entries of the list whose rows a goroutine has yet to make entries of.
func (l *shortlist) heldBy(s *selector) []*found {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*found
	for _, f := range l.kept {
		if f.held != nil && f.held.by == s {
			out = append(out, f)
		}
	}
	return out
}

// made gives entries what was made of their rows.
func (l *shortlist) made(of []*found, entries []madeEntry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, f := range of {
		if f.gone {
			l.mem.give(entries[i].size)
			continue
		}
		f.entry, f.size, f.held = entries[i].entry, entries[i].size, nil
	}
}
