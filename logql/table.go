package logql

import (
	"math"

	"github.com/prometheus/prometheus/model/labels"
)

// table collects the series of a range aggregation: labels to cells, or to samples. One goroutine
// uses it at a time.
//
// Cells lie in chunks of up to chunkCells in one array, so a series that occurs once costs one chunk
// and no allocation of its own.
type table struct {
	fold   fold
	budget *budget
	limit  int // of series

	labels []labels.Labels
	byHash map[uint64]int32 // hash of the labels to the newest series with it
	next   []int32          // per series: another one with the same hash, or -1

	single    bool    // there is one cell: that of series s is cells[s]
	perSeries int     // chunks that a series can have
	chunkLen  int     // cells of a chunk
	chunks    []int32 // per series and chunk: where it begins in cells, or -1
	cells     []cell

	samples [][]sample // foldSamples only
}

const (
	chunkCells = 64

	// maxTaskSeries bounds the series that a task may collect before they are aggregated further,
	// where no memory limit does.
	maxTaskSeries = 500_000
)

func newTable(f fold, cells int, b *budget) *table {
	t := &table{fold: f, budget: b, limit: maxTaskSeries, byHash: map[uint64]int32{}}
	if f != foldSamples {
		t.chunkLen = min(cells, chunkCells)
		t.perSeries = (cells + t.chunkLen - 1) / t.chunkLen
		t.single = cells == 1
	}
	return t
}

// series returns the number of the series with these labels and creates it if need be.
func (t *table) series(ls labels.Labels) (int32, error) {
	ls = ls.WithoutEmpty()
	h := ls.Hash()
	head, ok := t.byHash[h]
	if !ok {
		head = -1
	}
	for s := head; s >= 0; s = t.next[s] {
		if labels.Equal(t.labels[s], ls) {
			return s, nil
		}
	}
	if len(t.labels) >= t.limit {
		return 0, errSeriesLimit(t.limit)
	}
	if err := t.budget.take(seriesSize(ls)+4*int64(t.perSeries), "series"); err != nil {
		return 0, err
	}
	s := int32(len(t.labels))
	t.labels = append(t.labels, ls)
	t.next = append(t.next, head)
	t.byHash[h] = s
	if t.fold == foldSamples {
		t.samples = append(t.samples, nil)
	}
	for range t.perSeries {
		t.chunks = append(t.chunks, -1)
	}
	if t.single {
		_, err := t.chunk(s, 0)
		return s, err
	}
	return s, nil
}

// seriesSize estimates what a series with these labels takes, without its cells.
func seriesSize(ls labels.Labels) int64 {
	n := int64(96)
	ls.Range(func(l labels.Label) { n += int64(len(l.Name) + len(l.Value) + 4) })
	return n
}

// cell returns the cell of a series; it is valid until the next call.
func (t *table) cell(series int32, index int) (*cell, error) {
	if t.single {
		return &t.cells[series], nil
	}
	at, err := t.chunk(series, index/chunkCells)
	if err != nil {
		return nil, err
	}
	return &t.cells[int(at)+index%chunkCells], nil
}

// chunk returns where a chunk of a series begins in cells.
func (t *table) chunk(series int32, index int) (int32, error) {
	at := &t.chunks[int(series)*t.perSeries+index]
	if *at < 0 {
		if len(t.cells) > math.MaxInt32-t.chunkLen {
			return 0, errSeriesLimit(len(t.labels))
		}
		// Twice the size: the array has room to grow.
		if err := t.budget.take(2*24*int64(t.chunkLen), "series"); err != nil {
			return 0, err
		}
		*at = int32(len(t.cells))
		for range t.chunkLen {
			t.cells = append(t.cells, cell{})
		}
	}
	return *at, nil
}

// addRows adds n rows to a cell of foldCount or foldBytes; bytes is the length of their lines.
func (t *table) addRows(series int32, index int, n, bytes int64) error {
	c, err := t.cell(series, index)
	if err != nil {
		return err
	}
	c.n += n
	if t.fold == foldBytes {
		c.a += float64(bytes)
	}
	return nil
}

// addValue adds a row with its value.
func (t *table) addValue(series int32, index int, time int64, value float64) error {
	if t.fold == foldSamples {
		s := t.samples[series]
		if len(s) == cap(s) {
			if err := t.budget.take(16*int64(max(1, cap(s))), "samples"); err != nil {
				return err
			}
		}
		t.samples[series] = append(s, sample{time, value})
		return nil
	}
	c, err := t.cell(series, index)
	if err != nil {
		return err
	}
	t.fold.merge(c, t.fold.one(time, value))
	return nil
}

// merge adds all series of o.
func (t *table) merge(o *table) error {
	for s, ls := range o.labels {
		to, err := t.series(ls)
		if err != nil {
			return err
		}
		if t.fold == foldSamples {
			if err := t.budget.take(16*int64(len(o.samples[s])), "samples"); err != nil {
				return err
			}
			t.samples[to] = append(t.samples[to], o.samples[s]...)
			continue
		}
		for ci, at := range o.chunks[s*o.perSeries : (s+1)*o.perSeries] {
			if at < 0 {
				continue
			}
			for i, c := range o.cells[at : int(at)+o.chunkLen] {
				if c.n == 0 {
					continue
				}
				dst, err := t.cell(to, ci*chunkCells+i)
				if err != nil {
					return err
				}
				t.fold.merge(dst, c)
			}
		}
	}
	return nil
}

// partial returns the series in the form that travels.
func (t *table) partial() []partialSeries {
	all := make([]partialSeries, len(t.labels))
	for s, ls := range t.labels {
		all[s].labels = ls
		if t.fold == foldSamples {
			all[s].samples = t.samples[s]
			continue
		}
		for ci, at := range t.chunks[s*t.perSeries : (s+1)*t.perSeries] {
			if at < 0 {
				continue
			}
			for i, c := range t.cells[at : int(at)+t.chunkLen] {
				if c.n > 0 {
					all[s].cells = append(all[s].cells, cellAt{int32(ci*chunkCells + i), c})
				}
			}
		}
	}
	return all
}
