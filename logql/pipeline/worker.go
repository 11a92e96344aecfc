package pipeline

import (
	"context"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/column"
)

// checkEvery is the number of rows between looks at the context.
const checkEvery = 1024

// Worker executes a pipeline over one batch after another. One goroutine uses it at a time. What it
// has learned from earlier batches (names, groups) makes later ones cheaper.
type Worker struct {
	p       *Pipeline
	runners []runner
	groups  groupTable

	// Of the batch.
	batch  *column.Batch
	ctx    context.Context
	metas  []metaColumn
	haveM  bool // metas is loaded
	cols   map[string]column.Metadata
	judged map[verdictKey][]verdict
	pure   []boundFilter
	leaves [][]boundLeaf // of each filter of Pipeline.pure

	// Of the run.
	run    int
	runSeq uint64
	stream *column.Stream

	// Of the row.
	row     int
	time    int64
	line    []byte
	labels  labelSet
	err     string // value of __error__
	details string // value of __error_details__
	soft    bool   // the error came from a parser
	meta    bool   // labels holds the structured metadata of the row
	parsed  bool   // a stage has made labels
	rowSeq  uint64 // numbers the rows, and their second readings
	arena   []byte // unescaped values
	value   float64

	// Scratch.
	spans, spare []span
	picked       []int32
	search       search
	key          []byte
	builder      labels.ScratchBuilder
	order        []place
}

// metaColumn is a column of structured metadata that the row stages see.
type metaColumn struct {
	column.Metadata
	name, clash string
	runName     string // name, or clash if the stream has a label of that name
}

// span is a range of rows.
type span struct{ lo, hi int }

// Worker returns an executor. Group numbers are its own.
func (p *Pipeline) Worker() *Worker {
	w := &Worker{p: p}
	for _, s := range p.rest {
		w.runners = append(w.runners, s.runner(w))
	}
	for _, f := range p.pure {
		w.leaves = append(w.leaves, make([]boundLeaf, f.leaves))
	}
	w.groups.init(p)
	return w
}

// Run calls emit for each row of b with from <= time < through that passes, in row order (run by run,
// ascending time in each). emit returns false to stop. The error is the context's or the batch's.
func (w *Worker) Run(ctx context.Context, b *column.Batch, from, through int64, emit func(*Row) bool) error {
	w.batch, w.ctx, w.haveM = b, ctx, false
	defer w.release()
	if err := w.choose(from, through); err != nil || len(w.spans) == 0 {
		return err
	}
	var lines column.Lines
	if len(w.p.lines) > 0 || w.p.reads {
		var err error
		if lines, err = w.lines(); err != nil || len(w.spans) == 0 {
			return err
		}
	}
	for _, m := range w.p.lines {
		out := m.selectRows(w, lines, w.spans, w.spare[:0])
		w.spans, w.spare = out, w.spans
		if len(w.spans) == 0 || ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return w.rows(lines, emit)
}

// RunRows calls emit for the given rows of b, ascending, of which it is known that they pass what Run drops rows by before
// the stages that see one row at a time. Otherwise it does what Run does.
func (w *Worker) RunRows(ctx context.Context, b *column.Batch, rows []int32, emit func(*Row) bool) error {
	w.batch, w.ctx, w.haveM = b, ctx, false
	defer w.release()
	w.spans = w.spans[:0]
	for _, i := range rows {
		w.spans = appendSpan(w.spans, span{int(i), int(i) + 1})
	}
	var lines column.Lines
	if w.p.reads {
		var err error
		if lines, err = w.selectedLines(); err != nil {
			return err
		}
	}
	return w.rows(lines, emit)
}

// lines returns the lines of the selected rows. If the batch can tell which of them a line filter can keep at
// all, the others are no longer selected.
func (w *Worker) lines() (column.Lines, error) {
	i := slices.IndexFunc(w.p.lines, func(m *lineMatcher) bool { return m.texts != nil })
	if s, ok := w.batch.Columns.(column.Searcher); ok && i >= 0 {
		rows, lines, ok, err := s.Search(w.ctx, w.p.lines[i].texts)
		if err != nil {
			return lines, err
		}
		if ok {
			w.spans, w.spare = intersect(w.spare[:0], w.spans, rows), w.spans
			return lines, nil
		}
	}
	return w.selectedLines()
}

// selectedLines returns the lines of the selected rows; others may be empty.
func (w *Worker) selectedLines() (column.Lines, error) {
	if p, ok := w.batch.Columns.(column.LinePicker); ok && w.batch.Head {
		if rows := w.selected(w.batch.Rows() / 2); rows != nil {
			return p.PickLines(w.ctx, rows)
		}
	}
	return w.batch.Lines(w.ctx)
}

// intersect appends the rows that lie in spans to dst, all in ascending order.
func intersect(dst, spans []span, rows []int32) []span {
	for _, s := range spans {
		at, _ := slices.BinarySearch(rows, int32(s.lo))
		for rows = rows[at:]; len(rows) > 0 && int(rows[0]) < s.hi; rows = rows[1:] {
			dst = appendSpan(dst, span{int(rows[0]), int(rows[0]) + 1})
		}
	}
	return dst
}

// release forgets the batch, so that the worker doesn't hold its memory.
func (w *Worker) release() {
	w.batch, w.ctx, w.line, w.stream = nil, nil, nil, nil
	clear(w.metas)
	w.metas = w.metas[:0]
	clear(w.cols)
	clear(w.judged)
	clear(w.pure)
	for _, l := range w.leaves {
		clear(l)
	}
	w.labels.base = labels.EmptyLabels()
	w.labels.dirty = true
	clear(w.labels.list)
	w.labels.list = w.labels.list[:0]
}

// choose makes the selection of rows by time and by the filters on stored labels.
func (w *Worker) choose(from, through int64) error {
	b := w.batch
	w.spans = w.spans[:0]
	var times []int64
	for i := range b.Runs {
		r := &b.Runs[i]
		if r.From >= r.To || r.MaxTime < from || r.MinTime >= through {
			continue
		}
		s := span{r.From, r.To}
		if r.MinTime < from || r.MaxTime >= through {
			if times == nil {
				var err error
				if times, err = b.Times(w.ctx); err != nil {
					return err
				}
			}
			if r.Mixed {
				if err := w.chooseMixed(r, times, from, through); err != nil {
					return err
				}
				continue
			}
			t := times[s.lo:s.hi]
			lo, _ := slices.BinarySearch(t, from)
			hi, _ := slices.BinarySearch(t, through)
			s = span{s.lo + lo, s.lo + hi}
			if s.lo >= s.hi {
				continue
			}
		}
		if len(w.p.pure) == 0 {
			w.spans = appendSpan(w.spans, s)
			continue
		}
		if err := w.filterRun(r.Stream, s); err != nil {
			return err
		}
	}
	return nil
}

// chooseMixed chooses rows of a run that are in no order of time.
func (w *Worker) chooseMixed(r *column.Run, times []int64, from, through int64) error {
	for i := r.From; i < r.To; i++ {
		if times[i] < from || times[i] >= through {
			continue
		}
		s := span{i, i + 1}
		for s.hi < r.To && times[s.hi] >= from && times[s.hi] < through {
			s.hi++
		}
		i = s.hi
		if len(w.p.pure) == 0 {
			w.spans = appendSpan(w.spans, s)
		} else if err := w.filterRun(r.Stream, s); err != nil {
			return err
		}
	}
	return nil
}

// appendSpan adds s behind the others and joins it with the last one if they touch.
func appendSpan(spans []span, s span) []span {
	if n := len(spans); n > 0 && spans[n-1].hi == s.lo {
		spans[n-1].hi = s.hi
		return spans
	}
	return append(spans, s)
}

// rows takes the selected rows through the remaining stages.
func (w *Worker) rows(lines column.Lines, emit func(*Row) bool) error {
	b, p := w.batch, w.p
	times, err := w.times()
	if err != nil {
		return err
	}
	var lengths []uint32
	if lines.Offsets == nil && p.measures {
		if lengths, err = b.LineLengths(w.ctx); err != nil {
			return err
		}
	}
	if err := w.loadMetadata(); err != nil {
		return err
	}
	row := Row{Batch: b, w: w}
	eager := len(w.runners) > 0 || p.opts.Unwrap != nil
	run, count := -1, 0
	for _, s := range w.spans {
		for i := s.lo; i < s.hi; i++ {
			for run < 0 || i >= b.Runs[run].To {
				run++
				if i < b.Runs[run].To {
					w.startRun(run)
				}
			}
			if count += 1 + len(w.runners); count >= checkEvery {
				if count = 0; w.ctx.Err() != nil {
					return w.ctx.Err()
				}
			}
			w.startRow(i, times[i])
			if lines.Offsets != nil {
				w.line = lines.Row(i)
			}
			if eager {
				w.loadRow()
				if !w.stages() {
					continue
				}
			}
			row.Run, row.Index, row.Time, row.Value = run, i, times[i], w.value
			switch {
			case lengths != nil:
				row.LineLen = int(lengths[i])
			default:
				row.LineLen = len(w.line)
			}
			row.Line = nil
			if p.opts.KeepLine {
				row.Line = w.line
			}
			row.Err = w.rowError()
			if w.groups.tally.keyed && row.Err == "" {
				w.groups.count(w)
				continue
			}
			if !p.opts.LazyGroup {
				row.Group = w.groups.of(w)
			}
			if !emit(&row) {
				return nil
			}
		}
	}
	return w.ctx.Err()
}

func (w *Worker) startRun(run int) {
	w.run = run
	w.runSeq++
	w.stream = w.batch.Runs[run].Stream
	w.labels.useStream(w.stream.Labels)
	for i := range w.metas {
		c := &w.metas[i]
		c.runName = c.name
		if w.stream.Labels.Has(c.name) {
			c.runName = c.clash
		}
	}
	w.groups.startRun(w)
	w.groups.tally.startRun(w)
}

func (w *Worker) startRow(row int, time int64) {
	w.row, w.time = row, time
	w.line, w.value = nil, 0
	w.err, w.details, w.soft = "", "", false
	w.arena = w.arena[:0]
	w.meta, w.parsed = false, false
	w.rowSeq++
	w.labels.reset()
}

// stages runs the row through the remaining stages and the unwrap.
func (w *Worker) stages() bool {
	for _, r := range w.runners {
		if !r.run(w) {
			return false
		}
	}
	if w.p.opts.Unwrap != nil {
		return w.unwrap()
	}
	return true
}

// loadMetadata asks the batch for the structured metadata that somebody looks at.
func (w *Worker) loadMetadata() error {
	n := w.p.need
	if w.haveM || !n.all && len(n.names) == 0 {
		return nil
	}
	names, err := w.batch.MetadataNames(w.ctx)
	if err != nil {
		return err
	}
	w.metas = w.metas[:0]
	few := w.fewRows()
	for _, name := range names {
		if !n.all && !w.seen(name) {
			continue
		}
		col, err := w.pick(name, few)
		if err != nil {
			return err
		}
		if col.Index != nil {
			w.metas = append(w.metas, metaColumn{Metadata: col, name: name, clash: name + clashSuffix})
		}
	}
	w.haveM = true
	return nil
}

// seen tells whether somebody looks at structured metadata of that name: as it is where the stream has
// no such label, else under the name for clashes.
func (w *Worker) seen(name string) bool {
	n := w.p.need
	own, clash := n.names[name], n.names[name+clashSuffix]
	if clash && w.p.parses { // where there is metadata, a parsed field gets that name
		return true
	}
	for i := range w.batch.Runs {
		if taken := w.batch.Runs[i].Stream.Labels.Has(name); own && !taken || clash && taken {
			return true
		}
	}
	return false
}

// pickRows is the number of rows of a batch up to which their metadata are read alone.
const pickRows = 8

// fewRows returns the selected rows if they are few, else nil.
func (w *Worker) fewRows() []int32 { return w.selected(pickRows) }

// selected returns the selected rows if they are no more than most, else nil. It is valid until the next call.
func (w *Worker) selected(most int) []int32 {
	w.picked = w.picked[:0]
	for _, s := range w.spans {
		if len(w.picked)+s.hi-s.lo > most {
			return nil
		}
		for i := s.lo; i < s.hi; i++ {
			w.picked = append(w.picked, int32(i))
		}
	}
	return w.picked
}

// times returns the times of the selected rows; of others it may return anything.
func (w *Worker) times() ([]int64, error) {
	if p, ok := w.batch.Columns.(column.Picker); ok {
		if rows := w.fewRows(); rows != nil {
			return p.PickTimes(w.ctx, rows)
		}
	}
	return w.batch.Times(w.ctx)
}

// pick is metadata, but only the given rows count, unless they are nil.
func (w *Worker) pick(name string, rows []int32) (column.Metadata, error) {
	if p, ok := w.batch.Columns.(column.Picker); ok && rows != nil {
		if c, ok := w.cols[name]; ok {
			return c, nil
		}
		return p.Pick(w.ctx, name, rows)
	}
	return w.metadata(name)
}

// metadata returns a column, which it asks the batch for once.
func (w *Worker) metadata(name string) (column.Metadata, error) {
	if c, ok := w.cols[name]; ok {
		return c, nil
	}
	c, err := w.batch.Metadata(w.ctx, name)
	if err != nil {
		return c, err
	}
	if w.cols == nil {
		w.cols = map[string]column.Metadata{}
	}
	w.cols[name] = c
	return c, nil
}

// loadRow adds the structured metadata of the row to its labels.
func (w *Worker) loadRow() {
	if w.meta {
		return
	}
	w.meta = true
	for i := range w.metas {
		c := &w.metas[i]
		if v, ok := c.Row(w.row); ok && len(v) > 0 {
			if c.runName != c.name && w.labels.find(c.runName) >= 0 {
				continue // a column of that very name was there first
			}
			w.labels.list = append(w.labels.list, label{name: c.runName, value: text(v), origin: fromMetadata})
		}
	}
}

// setError marks the row as faulty. Parsers give a soft error: a query that groups by __error__ wants
// to count those.
func (w *Worker) setError(kind, details string, soft bool) {
	w.err, w.details, w.soft = kind, details, soft
}

// rowError is the value of __error__ that makes a metric query fail.
func (w *Worker) rowError() string {
	if w.err != "" {
		if w.soft && w.groups.byError {
			return ""
		}
		return w.err
	}
	if w.p.parses && w.p.need.all { // only then a field of that name is extracted
		if v, ok := w.labels.get(labelError); ok {
			return v
		}
	}
	return ""
}

// found adds a field that a parser has found, unless the row has it already, and tells whether it did.
func (w *Worker) found(f *fieldName, value string) bool {
	if f.run != w.runSeq {
		f.bind(w)
	}
	name := f.name
	if f.slot != nil {
		if f.slot.row == w.rowSeq {
			return false
		}
		f.slot.row = w.rowSeq
	}
	if !f.plain || w.parsed {
		name = w.placeFor(f)
		if w.labels.find(name) >= 0 {
			return false
		}
	}
	w.labels.list = append(w.labels.list, label{name: name, value: value, origin: fromParsed})
	return true
}

// assign sets a field that an expression asked for.
func (w *Worker) assign(f *fieldName, value string) {
	if f.run != w.runSeq {
		f.bind(w)
	}
	name := w.placeFor(f)
	if i := w.labels.find(name); i >= 0 && w.labels.list[i].origin == fromMetadata {
		return
	}
	w.labels.set(name, value, fromParsed)
}

// placeFor returns the label name of a field: its own, or the one for clashes if the stream or the
// structured metadata has it. A stream label counts even after a stage has dropped it.
func (w *Worker) placeFor(f *fieldName) string {
	if f.inStream {
		return f.clash
	}
	if len(w.metas) > 0 {
		if i := w.labels.find(f.name); i >= 0 && w.labels.list[i].origin == fromMetadata {
			return f.clash
		}
	}
	return f.name
}
