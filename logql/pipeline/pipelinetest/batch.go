// Package pipelinetest makes column batches of rows that a test spells out.
package pipelinetest

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/column"
)

// Row is a log entry with its structured metadata, values by name.
type Row struct {
	Time     int64
	Line     string
	Metadata map[string]string
}

// Stream is a stream with its rows.
type Stream struct {
	Labels labels.Labels
	Rows   []Row
}

// Columns holds the rows of a batch and counts what is asked for.
type Columns struct {
	times    []int64
	lengths  []uint32
	lines    column.Lines
	names    []string
	metadata map[string]column.Metadata

	// LineReads, LengthReads, TimeReads and MetadataReads count the calls of the methods. Released
	// tells that Release was called.
	LineReads, LengthReads, TimeReads, MetadataReads atomic.Int64
	Released                                         atomic.Bool
}

// Batch makes one batch of all rows, a run for each stream, its rows ordered by time.
func Batch(streams ...Stream) *column.Batch {
	c := &Columns{metadata: map[string]column.Metadata{}}
	c.lines.Offsets = []uint32{0}
	b := &column.Batch{Columns: c}
	total := 0
	for _, s := range streams {
		total += len(s.Rows)
	}
	for _, s := range streams {
		if len(s.Rows) == 0 {
			continue
		}
		rows := slices.Clone(s.Rows)
		slices.SortStableFunc(rows, func(a, b Row) int { return int(min(max(a.Time-b.Time, -1), 1)) })
		from := len(c.times)
		for _, r := range rows {
			i := len(c.times)
			c.times = append(c.times, r.Time)
			c.lengths = append(c.lengths, uint32(len(r.Line)))
			c.lines.Data = append(c.lines.Data, r.Line...)
			c.lines.Offsets = append(c.lines.Offsets, uint32(len(c.lines.Data)))
			for name, v := range r.Metadata {
				m, ok := c.metadata[name]
				if !ok {
					m.Index = make([]uint32, total)
				}
				at := slices.IndexFunc(m.Values, func(x []byte) bool { return string(x) == v })
				if at < 0 {
					at = len(m.Values)
					m.Values = append(m.Values, []byte(v))
				}
				m.Index[i] = uint32(at + 1)
				c.metadata[name] = m
			}
		}
		run := column.Run{
			Stream: column.NewStream(s.Labels), From: from, To: len(c.times),
			MinTime: rows[0].Time, MaxTime: rows[len(rows)-1].Time,
		}
		if len(b.Runs) == 0 {
			b.MinTime, b.MaxTime = run.MinTime, run.MaxTime
		}
		b.MinTime, b.MaxTime = min(b.MinTime, run.MinTime), max(b.MaxTime, run.MaxTime)
		b.Runs = append(b.Runs, run)
	}
	for name := range c.metadata {
		c.names = append(c.names, name)
	}
	slices.Sort(c.names)
	b.RawBytes = int64(len(c.lines.Data))
	return b
}

// Of returns the columns of a batch that Batch has made.
func Of(b *column.Batch) *Columns { return b.Columns.(*Columns) }

func (c *Columns) Rows() int { return len(c.times) }

func (c *Columns) Times(context.Context) ([]int64, error) {
	c.TimeReads.Add(1)
	return c.times, nil
}

func (c *Columns) LineLengths(context.Context) ([]uint32, error) {
	c.LengthReads.Add(1)
	return c.lengths, nil
}

func (c *Columns) Lines(context.Context) (column.Lines, error) {
	c.LineReads.Add(1)
	return c.lines, nil
}

func (c *Columns) MetadataNames(context.Context) ([]string, error) { return c.names, nil }

func (c *Columns) Metadata(_ context.Context, name string) (column.Metadata, error) {
	c.MetadataReads.Add(1)
	return c.metadata[name], nil
}

func (c *Columns) Release() { c.Released.Store(true) }
