package store

import "iter"

// streamSet is some of the streams of a segment: ranges of their numbers, ascending and apart. Streams are sorted by their
// labels, so those that match are mostly few ranges, however many streams they have.
type streamSet []streamRange

// streamRange is the streams [from, to).
type streamRange struct{ from, to uint32 }

// add adds streams that follow those of the set.
func (s streamSet) add(from, to uint32) streamSet {
	if n := len(s); n > 0 && s[n-1].to == from {
		s[n-1].to = to
		return s
	}
	return append(s, streamRange{from, to})
}

// count returns how many streams there are.
func (s streamSet) count() (n int) {
	for _, r := range s {
		n += int(r.to - r.from)
	}
	return n
}

// each yields the numbers of the streams, ascending.
func (s streamSet) each() iter.Seq[int] {
	return func(yield func(int) bool) {
		for _, r := range s {
			for n := r.from; n < r.to; n++ {
				if !yield(int(n)) {
					return
				}
			}
		}
	}
}
