// Package storetest tests implementations of store.Service and stands in for one.
package storetest

import (
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/column"
	"example.com/loki/store"
)

// Entry is one row.
type Entry struct {
	Labels   labels.Labels
	Time     int64
	Line     string
	Metadata labels.Labels
}

// Rows sorts entries as store.Put wants them. Entries of equal stream and time stay in order.
func Rows(entries ...Entry) store.Rows {
	entries = slices.Clone(entries)
	slices.SortStableFunc(entries, compareEntries)
	return func(yield func(*store.StreamRows, error) bool) {
		for len(entries) > 0 {
			n := 1
			for n < len(entries) && labels.Equal(entries[n].Labels, entries[0].Labels) {
				n++
			}
			if !yield(streamRows(entries[:n]), nil) {
				return
			}
			entries = entries[n:]
		}
	}
}

func compareEntries(a, b Entry) int {
	if c := labels.Compare(a.Labels, b.Labels); c != 0 {
		return c
	}
	switch {
	case a.Time < b.Time:
		return -1
	case a.Time > b.Time:
		return 1
	}
	return 0
}

// streamRows turns entries of one stream into columns.
func streamRows(entries []Entry) *store.StreamRows {
	s := &store.StreamRows{Labels: entries[0].Labels, Lines: column.Lines{Offsets: []uint32{0}}}
	cols := make(map[string]*store.NamedMetadata)
	for i, e := range entries {
		s.Times = append(s.Times, e.Time)
		s.Lines.Data = append(s.Lines.Data, e.Line...)
		s.Lines.Offsets = append(s.Lines.Offsets, uint32(len(s.Lines.Data)))
		e.Metadata.Range(func(l labels.Label) {
			c := cols[l.Name]
			if c == nil {
				c = &store.NamedMetadata{Name: l.Name, Metadata: column.Metadata{Index: make([]uint32, len(entries))}}
				cols[l.Name] = c
			}
			c.Values = append(c.Values, []byte(l.Value))
			c.Index[i] = uint32(len(c.Values))
		})
	}
	names := make([]string, 0, len(cols))
	for n := range cols {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		s.Metadata = append(s.Metadata, *cols[n])
	}
	return s
}
