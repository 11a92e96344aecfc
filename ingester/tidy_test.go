package ingester

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestTidy compares with the obvious: sort all, then look for each row among those before it.
func TestTidy(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var block []byte
	var texts []row // what rows can say
	block = append(block, 0)
	for n := range 6 {
		at := len(block)
		block = append(block, fmt.Sprintf("line%d", n/2)...)
		meta := len(block)
		block = append(block, 1, byte(n%2), 1, 'v')
		texts = append(texts, row{off: uint32(at), len: 5, meta: uint32(meta)}, row{off: uint32(at), len: 5})
	}
	blocks := [][]byte{block}
	text := func(r row) string { return fmt.Sprintf("%d %s %x", r.time, line(r, blocks), metaSet(r, blocks)) }
	for round := range 3000 {
		s := &stream{}
		var all []row
		span := 1 + r.IntN(40)
		for range 1 + r.IntN(4) {
			var rows []row
			for k := range 1 + r.IntN(30) {
				x := texts[r.IntN(len(texts))]
				x.time = int64(r.IntN(span))
				if round%3 == 0 {
					x.time = int64(len(all) + k) // in order
				}
				rows = append(rows, x)
			}
			s.append(rows)
			all = append(all, rows...)
			if r.IntN(2) == 0 {
				before := slices.Clone(s.rows)
				shared := s.rows
				s.rows = slices.Clip(tidy(s.rows, int(s.clean), blocks))
				s.clean = int32(len(s.rows))
				if !slices.Equal(before, shared) {
					t.Fatal("tidy changed rows that others may be reading")
				}
			}
		}
		var want []string
		slices.SortStableFunc(all, func(a, b row) int { return cmp.Compare(a.time, b.time) })
		for _, x := range all {
			if s := text(x); !slices.Contains(want, s) {
				want = append(want, s)
			}
		}
		var got []string
		for _, x := range tidy(s.rows, int(s.clean), blocks) {
			got = append(got, text(x))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("round %d:\n got %q\nwant %q", round, got, want)
		}
	}
}
