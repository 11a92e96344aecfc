package detect

import (
	"cmp"
	"context"
	"iter"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
	"example.com/loki/logql/column"
)

// maxBatchBytes bounds the lines of a batch, which are copied.
const maxBatchBytes = 16 << 20

// chunks cuts entries into sequences whose lines are not longer than maxBatchBytes together, where they
// are not single ones.
func chunks(entries []logql.EntryResult) iter.Seq[[]*logql.EntryResult] {
	return func(yield func([]*logql.EntryResult) bool) {
		var part []*logql.EntryResult
		bytes := 0
		for i := range entries {
			if bytes += len(entries[i].Line); bytes > maxBatchBytes && len(part) > 0 {
				if !yield(part) {
					return
				}
				part, bytes = nil, len(entries[i].Line)
			}
			part = append(part, &entries[i])
		}
		if len(part) > 0 {
			yield(part)
		}
	}
}

// batch makes entries of one stream a batch for a pipeline.
type batch struct {
	column.Batch
	entries []*logql.EntryResult
	times   []int64
	lines   column.Lines
}

// newBatch takes the entries over.
func newBatch(stream labels.Labels, entries []*logql.EntryResult) *batch {
	slices.SortStableFunc(entries, func(a, b *logql.EntryResult) int { return cmp.Compare(a.Time, b.Time) })
	b := &batch{entries: entries, lines: column.Lines{Offsets: make([]uint32, 1, len(entries)+1)}}
	for _, e := range entries {
		b.times = append(b.times, e.Time)
		b.lines.Data = append(b.lines.Data, e.Line...)
		b.lines.Offsets = append(b.lines.Offsets, uint32(len(b.lines.Data)))
	}
	b.MinTime, b.MaxTime = entries[0].Time, entries[len(entries)-1].Time
	b.RawBytes = int64(len(b.lines.Data))
	b.Runs = []column.Run{{Stream: column.NewStream(stream), To: len(entries), MinTime: b.MinTime, MaxTime: b.MaxTime}}
	b.Columns = b
	return b
}

func (b *batch) entry(row int) *logql.EntryResult { return b.entries[row] }

// The methods of column.Columns.

func (b *batch) Rows() int { return len(b.entries) }

func (b *batch) Times(context.Context) ([]int64, error) { return b.times, nil }

func (b *batch) LineLengths(context.Context) ([]uint32, error) {
	lengths := make([]uint32, len(b.entries))
	for i, e := range b.entries {
		lengths[i] = uint32(len(e.Line))
	}
	return lengths, nil
}

func (b *batch) Lines(context.Context) (column.Lines, error) { return b.lines, nil }

func (b *batch) MetadataNames(context.Context) ([]string, error) {
	seen := map[string]bool{}
	var names []string
	for _, e := range b.entries {
		e.Metadata.Range(func(l labels.Label) {
			if !seen[l.Name] {
				seen[l.Name] = true
				names = append(names, l.Name)
			}
		})
	}
	slices.Sort(names)
	return names, nil
}

func (b *batch) Metadata(_ context.Context, name string) (column.Metadata, error) {
	var m column.Metadata
	index := make([]uint32, len(b.entries))
	codes := map[string]uint32{}
	for i, e := range b.entries {
		if !e.Metadata.Has(name) {
			continue
		}
		value := e.Metadata.Get(name)
		if codes[value] == 0 {
			m.Values = append(m.Values, []byte(value))
			codes[value] = uint32(len(m.Values))
		}
		index[i] = codes[value]
		m.Index = index
	}
	return m, nil
}

func (b *batch) Release() {}
