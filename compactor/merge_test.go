package compactor

import (
	"fmt"
	"math"
	"testing"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/store/storetest"
)

// TestManyRowsOfOneTime: memory is bounded where all rows have one time, and none is lost.
func TestManyRowsOfOneTime(t *testing.T) {
	b := newBench(t, nil)
	const rows = sameRows*3/4 + 10
	m := &merge{start: math.MinInt64, end: math.MaxInt64}
	for part := range 2 {
		entries := make([]storetest.Entry, rows)
		for i := range entries {
			entries[i] = storetest.Entry{Labels: labels.FromStrings("app", "a"), Time: 1e18, Line: fmt.Sprint(part, i)}
		}
		id := ulid.ULID{15: byte(part + 1)}
		storetest.Put(t, tenant(), b.store, id, entries)
		seg, err := b.store.Open(tenant(), id)
		if err != nil {
			t.Fatal(err)
		}
		defer seg.Close()
		m.segments = append(m.segments, seg)
	}
	total, most := 0, 0
	for piece, err := range m.rows(tenant()) {
		if err != nil {
			t.Fatal(err)
		}
		total += len(piece.Times)
		most = max(most, len(piece.Times))
	}
	if total != 2*rows {
		t.Errorf("%d rows, want %d", total, 2*rows)
	}
	if most > sameRows {
		t.Errorf("a piece has %d rows, want %d at most", most, sameRows)
	}
}
