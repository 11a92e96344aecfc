package querier

import (
	"context"
	"math"
	"slices"
	"sort"

	"example.com/loki/ingester"
	"example.com/loki/logql/column"
)

// batchOf returns the entries of a tail as a column batch, and their number. It keeps and sorts what it is
// given: a tail batch belongs to its receiver.
func batchOf(t *ingester.TailBatch) (*column.Batch, int) {
	c := &liveColumns{metadata: map[string]*liveMetadata{}}
	b := &column.Batch{MinTime: math.MaxInt64, MaxTime: math.MinInt64}
	rows, size := 0, 0
	for _, s := range t.Streams {
		rows += len(s.Entries)
		for i := range s.Entries {
			size += len(s.Entries[i].Line)
		}
	}
	c.times = make([]int64, 0, rows)
	c.lengths = make([]uint32, 0, rows)
	c.lines = column.Lines{Data: make([]byte, 0, size), Offsets: append(make([]uint32, 0, rows+1), 0)}
	for _, s := range t.Streams {
		if len(s.Entries) == 0 {
			continue
		}
		slices.SortStableFunc(s.Entries, func(a, b ingester.Entry) int {
			switch {
			case a.Time < b.Time:
				return -1
			case a.Time > b.Time:
				return 1
			}
			return 0
		})
		from := len(c.times)
		for i := range s.Entries {
			c.add(&s.Entries[i], rows)
		}
		r := column.Run{
			Stream:  &column.Stream{Labels: s.Labels, Hash: s.Hash},
			From:    from,
			To:      len(c.times),
			MinTime: s.Entries[0].Time,
			MaxTime: s.Entries[len(s.Entries)-1].Time,
		}
		b.Runs = append(b.Runs, r)
		b.MinTime = min(b.MinTime, r.MinTime)
		b.MaxTime = max(b.MaxTime, r.MaxTime)
	}
	for name := range c.metadata {
		c.names = append(c.names, name)
	}
	sort.Strings(c.names)
	b.RawBytes = int64(size)
	b.Columns = c
	return b, rows
}

// liveColumns are columns in memory.
type liveColumns struct {
	times    []int64
	lengths  []uint32
	lines    column.Lines
	names    []string
	metadata map[string]*liveMetadata
}

// liveMetadata builds a column; last is the dictionary's entry that was used last, as values tend to
// repeat.
type liveMetadata struct {
	column.Metadata
	last uint32
}

func (c *liveColumns) add(e *ingester.Entry, rows int) {
	row := len(c.times)
	c.times = append(c.times, e.Time)
	c.lengths = append(c.lengths, uint32(len(e.Line)))
	c.lines.Data = append(c.lines.Data, e.Line...)
	c.lines.Offsets = append(c.lines.Offsets, uint32(len(c.lines.Data)))
	for _, f := range e.Metadata {
		m := c.metadata[f.Name]
		if m == nil {
			m = &liveMetadata{Metadata: column.Metadata{Index: make([]uint32, rows)}}
			c.metadata[f.Name] = m
		}
		if m.last == 0 || string(m.Values[m.last-1]) != string(f.Value) {
			m.Values = append(m.Values, f.Value)
			m.last = uint32(len(m.Values))
		}
		m.Index[row] = m.last
	}
}

// Rows implements column.Columns.
func (c *liveColumns) Rows() int { return len(c.times) }

// Times implements column.Columns.
func (c *liveColumns) Times(context.Context) ([]int64, error) { return c.times, nil }

// LineLengths implements column.Columns.
func (c *liveColumns) LineLengths(context.Context) ([]uint32, error) { return c.lengths, nil }

// Lines implements column.Columns.
func (c *liveColumns) Lines(context.Context) (column.Lines, error) { return c.lines, nil }

// MetadataNames implements column.Columns.
func (c *liveColumns) MetadataNames(context.Context) ([]string, error) { return c.names, nil }

// Metadata implements column.Columns.
func (c *liveColumns) Metadata(_ context.Context, name string) (column.Metadata, error) {
	if m := c.metadata[name]; m != nil {
		return m.Metadata, nil
	}
	return column.Metadata{}, nil
}

// Release implements column.Columns.
func (c *liveColumns) Release() {}
