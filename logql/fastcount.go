package logql

import (
	"context"
	"slices"
	"sort"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/column"
)

// fastCounter counts rows or their bytes where no stage can drop or change one, without looking at
// rows one by one:
//
//   - A run whose rows lie in one cell needs no column at all (for bytes, only the line lengths, where
//     the source does not know their sum).
//   - Otherwise rows are counted by the minute, where the source knows these counts and cells are made of
//     whole minutes,
//   - or else the times say where one cell ends and the next begins, by binary search.
//   - Labels to group by that are structured metadata are counted by their dictionary codes.
//
// Lines are never read. Runs with doubles are left to the pipeline.
type fastCounter struct {
	plan    *leafPlan
	table   *table
	bytes   bool
	minutes bool // cells are made of whole minutes

	batch   *column.Batch
	names   []string                // of the batch's metadata
	rest    []column.Run            // of the batch, that cannot be counted
	streams map[uint64]streamSeries // by hash: series of streams whose group is in their labels alone
	lastOf  *column.Stream          // the stream before
	last    streamSeries            // and what is known of it
	codes   []int32                 // series by code, of the run at hand; -1 where not known yet. Empty: too many codes
	columns []column.Metadata       // that the run at hand is grouped by
	by      []string                // their names
	counts  []int64                 // rows by code
	builder labels.ScratchBuilder
}

// streamSeries is a stream and the series it belongs to.
type streamSeries struct {
	stream labels.Labels
	series int32
}

func newFastCounter(lp *leafPlan, t *table) *fastCounter {
	return &fastCounter{plan: lp, table: t, bytes: lp.lineBytes(), minutes: lp.windows.wholeMinutes(), streams: map[uint64]streamSeries{}}
}

// count counts a batch but for the runs that it cannot count, which it returns. They are valid until the next call.
func (f *fastCounter) count(ctx context.Context, b *column.Batch, from, through int64) (kept int64, rest []column.Run, err error) {
	f.batch, f.names, f.rest = b, nil, f.rest[:0]
	if f.plan.group.Without || len(f.plan.group.Names) > 0 {
		if f.names, err = b.MetadataNames(ctx); err != nil {
			return 0, nil, err
		}
	}
	var last *column.Stream
	countable := false
	for i := range b.Runs {
		r := &b.Runs[i]
		if r.Stream != last {
			last, countable = r.Stream, f.countable(r.Stream.Labels)
		}
		if r.Shared || !countable {
			f.rest = append(f.rest, *r)
			continue
		}
		n, err := f.run(ctx, r, from, through)
		if kept += n; err != nil {
			return kept, nil, err
		}
	}
	return kept, f.rest, nil
}

// countable tells whether the group of a stream's rows follows from its labels and from metadata
// columns as they are. Metadata with the name of a stream label goes by another name, name_extracted:
// that is left to the pipeline.
func (f *fastCounter) countable(stream labels.Labels) bool {
	g := &f.plan.group
	for _, name := range f.names {
		if g.Without {
			if !slices.Contains(g.Names, name) || stream.Has(name) {
				return false
			}
			continue
		}
		if stream.Has(name) && slices.Contains(g.Names, name+"_extracted") {
			return false
		}
	}
	for _, name := range g.Names {
		if !g.Without && strings.HasPrefix(name, "__") {
			return false // __error__ and its like are the pipeline's
		}
	}
	return true
}

// run counts the rows of a run.
func (f *fastCounter) run(ctx context.Context, run *column.Run, from, through int64) (kept int64, err error) {
	if run.MaxTime < from || run.MinTime >= through || run.From == run.To {
		return 0, nil
	}
	if err := f.group(ctx, run); err != nil {
		return 0, err
	}
	cell, _, last := f.plan.windows.cell(run.MinTime)
	if run.MinTime >= from && run.MaxTime < through && run.MaxTime <= last {
		return f.whole(ctx, run, cell)
	}
	// Which rows lie in which minute is known of rows in the order of time alone.
	if f.minutes && f.batch.Totals != nil && (len(f.columns) == 0 || !run.Mixed) {
		m, ok, err := f.batch.Totals.Minutes(ctx, run.From, run.To)
		if err != nil {
			return 0, err
		}
		if ok {
			if kept, ok, err = f.byMinute(ctx, run, m, from, through); ok || err != nil {
				return kept, err
			}
		}
	}
	lengths, err := f.lengths(ctx)
	if err != nil {
		return 0, err
	}
	times, err := f.batch.Times(ctx)
	if err != nil {
		return 0, err
	}
	if run.Mixed {
		return f.mixed(run, times, lengths, from, through)
	}
	lo, end := run.From, run.To
	if run.MinTime < from {
		lo += firstFrom(times[lo:end], from)
	}
	if run.MaxTime >= through {
		end = lo + firstFrom(times[lo:end], through)
	}
	for lo < end {
		cell, _, last := f.plan.windows.cell(times[lo])
		hi := end
		if times[end-1] > last {
			hi = lo + firstFrom(times[lo:end], last+1)
		}
		n, err := f.rows(run, cell, lo, hi, lengths)
		if err != nil {
			return kept, err
		}
		kept += n
		lo = hi
	}
	return kept, nil
}

// mixed counts a run whose rows are in no order of time.
func (f *fastCounter) mixed(run *column.Run, times []int64, lengths []uint32, from, through int64) (kept int64, err error) {
	for i := run.From; i < run.To; {
		if times[i] < from || times[i] >= through {
			i++
			continue
		}
		cell, first, last := f.plan.windows.cell(times[i])
		first, last = max(first, from), min(last, through-1)
		end := i + 1
		for end < run.To && times[end] >= first && times[end] <= last {
			end++
		}
		n, err := f.rows(run, cell, i, end, lengths)
		if kept += n; err != nil {
			return kept, err
		}
		i = end
	}
	return kept, nil
}

// lengths returns those of lines, if the query is about bytes.
func (f *fastCounter) lengths(ctx context.Context) ([]uint32, error) {
	if !f.bytes {
		return nil, nil
	}
	return f.batch.LineLengths(ctx)
}

// whole counts a run that lies in one cell.
func (f *fastCounter) whole(ctx context.Context, run *column.Run, cell int) (int64, error) {
	if cell < 0 {
		return 0, nil
	}
	if len(f.columns) == 0 && f.bytes && f.batch.Totals != nil {
		if bytes, ok := f.batch.Totals.LineBytes(run.From, run.To); ok {
			n := int64(run.To - run.From)
			return n, f.table.addRows(f.codes[0], cell, n, bytes)
		}
		m, ok, err := f.batch.Totals.Minutes(ctx, run.From, run.To)
		if err != nil {
			return 0, err
		}
		if ok {
			n := int64(run.To - run.From)
			return n, f.table.addRows(f.codes[0], cell, n, int64(m.Bytes[len(m.Bytes)-1]))
		}
	}
	lengths, err := f.lengths(ctx)
	if err != nil {
		return 0, err
	}
	return f.rows(run, cell, run.From, run.To, lengths)
}

// byMinute counts the rows of a run from what is known of its minutes; done is false, and nothing has been
// counted, if from or through lies within one of them.
func (f *fastCounter) byMinute(ctx context.Context, run *column.Run, m column.Minutes, from, through int64) (kept int64, done bool, err error) {
	at, end := 0, len(m.Rows)
	ok := true
	if run.MinTime < from {
		if at, ok = m.Until(from - 1); !ok {
			return 0, false, nil
		}
	}
	if run.MaxTime >= through {
		if end, ok = m.Until(through - 1); !ok {
			return 0, false, nil
		}
	}
	var lengths []uint32
	if len(f.columns) > 0 {
		if lengths, err = f.lengths(ctx); err != nil {
			return 0, true, err
		}
	}
	var rows, bytes uint32 // before minute at
	if at > 0 {
		rows, bytes = m.Rows[at-1], m.Bytes[at-1]
	}
	for at < end {
		if m.Rows[at] == rows {
			at++
			continue
		}
		cell, _, last := f.plan.windows.cell((m.First + int64(at) + 1) * column.Minute)
		next := int(min(int64(end), last/column.Minute-m.First))
		n, b := m.Rows[next-1]-rows, m.Bytes[next-1]-bytes
		switch {
		case cell < 0:
			n = 0
		case len(f.columns) == 0:
			err = f.table.addRows(f.codes[0], cell, int64(n), int64(b))
		default:
			_, err = f.rows(run, cell, run.From+int(rows), run.From+int(rows+n), lengths)
		}
		if err != nil {
			return kept, true, err
		}
		kept += int64(n)
		at, rows, bytes = next, m.Rows[next-1], m.Bytes[next-1]
	}
	return kept, true, nil
}

// firstFrom returns the first index with a time of at least t. It looks near the beginning first: in
// a long run most cells are short.
func firstFrom(times []int64, t int64) int {
	step := 1
	for step < len(times) && times[step] < t {
		step *= 2
	}
	lo, hi := step/2, min(step+1, len(times))
	return lo + sort.Search(hi-lo, func(i int) bool { return times[lo+i] >= t })
}

// group finds the metadata columns that a run is grouped by, and the series where there are none.
func (f *fastCounter) group(ctx context.Context, run *column.Run) error {
	f.columns, f.by, f.codes = f.columns[:0], f.by[:0], f.codes[:0]
	codes := 1
	// A table of codes pays if there are not many more of them than rows.
	most := max(64, 4*(run.To-run.From))
	if !f.plan.group.Without {
		for _, name := range f.plan.group.Names {
			if !slices.Contains(f.names, name) || run.Stream.Labels.Has(name) {
				continue
			}
			col, err := f.batch.Metadata(ctx, name)
			if err != nil {
				return err
			}
			f.columns, f.by = append(f.columns, col), append(f.by, name)
			codes = min(codes*(len(col.Values)+1), most+1)
		}
	}
	if len(f.columns) == 0 {
		s, err := f.series(run.Stream)
		f.codes = append(f.codes, s)
		return err
	}
	if codes <= most {
		for range codes {
			f.codes = append(f.codes, -1)
		}
	}
	return nil
}

// series returns the series of a stream whose rows are all in one.
func (f *fastCounter) series(stream *column.Stream) (int32, error) {
	// Streams come in the order of their labels, so the one before is often of the same group.
	if stream == f.lastOf {
		return f.last.series, nil
	}
	f.lastOf = stream
	if !f.last.stream.IsEmpty() && f.sameGroup(f.last.stream, stream.Labels) {
		return f.last.series, nil
	}
	s, err := f.seriesOf(stream)
	f.last = streamSeries{stream.Labels, s}
	return s, err
}

// sameGroup tells that two streams are of one group, where that is quick to say.
func (f *fastCounter) sameGroup(a, b labels.Labels) bool {
	g := &f.plan.group
	if g.Without {
		return false
	}
	for _, name := range g.Names {
		if a.Get(name) != b.Get(name) {
			return false
		}
	}
	return true
}

func (f *fastCounter) seriesOf(stream *column.Stream) (int32, error) {
	if known, ok := f.streams[stream.Hash]; ok && labels.Equal(known.stream, stream.Labels) {
		return known.series, nil
	}
	s, err := f.table.series(f.labels(stream.Labels, 0))
	f.streams[stream.Hash] = streamSeries{stream.Labels, s}
	return s, err
}

// rows adds the rows [lo, hi) to a cell.
func (f *fastCounter) rows(run *column.Run, cell, lo, hi int, lengths []uint32) (int64, error) {
	if cell < 0 {
		return 0, nil
	}
	if len(f.columns) == 0 {
		return int64(hi - lo), f.table.addRows(f.codes[0], cell, int64(hi-lo), sumOf(lengths, lo, hi))
	}
	if len(f.columns) == 1 && !f.bytes && len(f.codes) > 0 && hi-lo >= 2*len(f.codes) {
		return f.tally(run, cell, lo, hi)
	}
	for i := lo; i < hi; {
		j, series, err := i+1, int32(-1), error(nil)
		if len(f.codes) > 0 {
			code := f.code(i)
			for j < hi && f.code(j) == code {
				j++
			}
			if series = f.codes[code]; series < 0 {
				series, err = f.table.series(f.labels(run.Stream.Labels, i))
				f.codes[code] = series
			}
		} else {
			series, err = f.table.series(f.labels(run.Stream.Labels, i))
		}
		if err != nil {
			return 0, err
		}
		if err := f.table.addRows(series, cell, int64(j-i), sumOf(lengths, i, j)); err != nil {
			return 0, err
		}
		i = j
	}
	return int64(hi - lo), nil
}

// tally adds the rows [lo, hi), of which each dictionary value has several, to a cell.
func (f *fastCounter) tally(run *column.Run, cell, lo, hi int) (int64, error) {
	f.counts = append(f.counts[:0], make([]int64, len(f.codes))...)
	for _, code := range f.columns[0].Index[lo:hi] {
		f.counts[code]++
	}
	for code, n := range f.counts {
		if n == 0 {
			continue
		}
		if f.codes[code] < 0 {
			i := lo
			for f.code(i) != code {
				i++
			}
			series, err := f.table.series(f.labels(run.Stream.Labels, i))
			if err != nil {
				return 0, err
			}
			f.codes[code] = series
		}
		if err := f.table.addRows(f.codes[code], cell, n, 0); err != nil {
			return 0, err
		}
	}
	return int64(hi - lo), nil
}

// code returns one number for the metadata of a row that it is grouped by.
func (f *fastCounter) code(row int) int {
	code := 0
	for i := range f.columns {
		code *= len(f.columns[i].Values) + 1
		if f.columns[i].Index != nil {
			code += int(f.columns[i].Index[row])
		}
	}
	return code
}

func sumOf(lengths []uint32, lo, hi int) (n int64) {
	if lengths == nil {
		return 0
	}
	for _, l := range lengths[lo:hi] {
		n += int64(l)
	}
	return n
}

// labels returns the group of a row.
func (f *fastCounter) labels(stream labels.Labels, row int) labels.Labels {
	f.builder.Reset()
	g := &f.plan.group
	stream.Range(func(l labels.Label) {
		if slices.Contains(g.Names, l.Name) != g.Without {
			f.builder.Add(l.Name, l.Value)
		}
	})
	for i, name := range f.by {
		if v, ok := f.columns[i].Row(row); ok && len(v) > 0 {
			f.builder.Add(name, string(v))
		}
	}
	f.builder.Sort()
	return f.builder.Labels()
}
