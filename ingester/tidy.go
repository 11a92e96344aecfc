package ingester

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// tidy returns the rows in the order of their times, equal times in the order of arrival, and of equal
// entries the first. rows[:clean] are so already. It does not change rows, which others may be reading,
// but may return it.
func tidy(rows []row, clean int, blocks [][]byte) []row {
	if clean == len(rows) {
		return rows
	}
	from := max(clean, 1) // rows before this are as they were
	inOrder := true
	for i := from; i < len(rows); i++ {
		if rows[i].time < rows[i-1].time {
			inOrder = false
			break
		}
	}
	out := rows
	if !inOrder {
		out, from = merge(rows, clean)
	}
	return unique(out, from-1, rows, blocks)
}

// merge sorts rows[clean:] into rows[:clean]. The result differs from rows only from the returned index
// on.
func merge(rows []row, clean int) ([]row, int) {
	late := slices.Clone(rows[clean:])
	slices.SortStableFunc(late, func(a, b row) int { return cmp.Compare(a.time, b.time) })
	done := rows[:clean]
	keep, _ := slices.BinarySearchFunc(done, late[0].time, func(r row, t int64) int {
		if r.time <= t {
			return -1
		}
		return 1
	})
	out := make([]row, 0, len(rows))
	out = append(out, done[:keep]...)
	done = done[keep:]
	for len(done) > 0 && len(late) > 0 {
		if done[0].time <= late[0].time {
			out, done = append(out, done[0]), done[1:]
		} else {
			out, late = append(out, late[0]), late[1:]
		}
	}
	out = append(out, done...)
	return append(out, late...), max(keep, 1)
}

// unique drops doubles from out, which is sorted; before the row with index from there are none. shared is
// a slice that must not be changed.
func unique(out []row, from int, shared []row, blocks [][]byte) []row {
	// A group of equal times may begin before from.
	for from > 0 && out[from-1].time == out[from].time {
		from--
	}
	owned := len(out) == 0 || &out[0] != &shared[0]
	w := from // out[:w] is the result so far
	for i := from; i < len(out); {
		j := i + 1
		for j < len(out) && out[j].time == out[i].time {
			j++
		}
		group := out[i:j]
		i = j
		kept := group
		if len(group) > 1 {
			kept = uniqueGroup(group, blocks)
		}
		if len(kept) < len(group) && !owned {
			out = slices.Clone(out)
			owned = true
		}
		if owned {
			copy(out[w:], kept)
		}
		w += len(kept)
	}
	return out[:w]
}

// uniqueGroup returns the different ones of rows of one time: rows itself, or a new slice.
func uniqueGroup(rows []row, blocks [][]byte) []row {
	const few = 8
	if len(rows) <= few {
		var drop [few]bool
		n := 0
		for i := 1; i < len(rows); i++ {
			for j := range i {
				if !drop[j] && sameEntry(rows[i], rows[j], blocks) {
					drop[i] = true
					n++
					break
				}
			}
		}
		if n == 0 {
			return rows
		}
		out := make([]row, 0, len(rows)-n)
		for i, r := range rows {
			if !drop[i] {
				out = append(out, r)
			}
		}
		return out
	}
	seen := make(map[uint64][]int32, len(rows))
	out := make([]row, 0, len(rows))
next:
	for _, r := range rows {
		h := xxhash.Sum64(line(r, blocks)) ^ xxhash.Sum64(metaSet(r, blocks))*0x9e3779b97f4a7c15
		for _, i := range seen[h] {
			if sameEntry(out[i], r, blocks) {
				continue next
			}
		}
		seen[h] = append(seen[h], int32(len(out)))
		out = append(out, r)
	}
	if len(out) == len(rows) {
		return rows
	}
	return out
}

// sameEntry compares line and metadata. Equal sets of one part have equal bytes, since names have one
// number and are in order.
func sameEntry(a, b row, blocks [][]byte) bool {
	return a.len == b.len && bytes.Equal(line(a, blocks), line(b, blocks)) &&
		(a.block == b.block && a.meta == b.meta || bytes.Equal(metaSet(a, blocks), metaSet(b, blocks)))
}

func line(r row, blocks [][]byte) []byte { return blocks[r.block][r.off : r.off+r.len] }

func metaSet(r row, blocks [][]byte) []byte {
	if r.meta == 0 {
		return nil
	}
	b := blocks[r.block]
	return b[r.meta:setEnd(b, r.meta)]
}
