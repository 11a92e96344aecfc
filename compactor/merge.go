package compactor

import (
	"bytes"
	"context"
	"iter"
	"math"
	"slices"
	"sort"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/column"
	"example.com/loki/store"
)

// Size of a piece of a stream that is handed to the store.
const (
	pieceBytes = 512 << 10
	pieceRows  = 16 << 10

	// Rows of one time that come from several segments are one piece up to this size, so that each double is found.
	// Where there are more, as of who gives all rows the time of an import, some doubles may stay, and memory is bounded.
	sameBytes = 32 << 20
	sameRows  = 256 << 10
)

// narrower takes rows with start <= time < end out of a batch by splitting its runs, and returns how many. What it does with
// others does not matter.
type narrower interface {
	narrow(ctx context.Context, b *column.Batch, start, end int64) (dropped int64, err error)
}

// merge yields the rows of segments with start <= time < end as the store wants them, equal ones once.
// Segments come in the order of their arrival. What narrowers take out is left out. It ends after the first error.
type merge struct {
	segments   []*store.Segment
	start, end int64
	narrowers  []narrower
	pace       func(ctx context.Context, bytes int) error // called for each piece; nil: as fast as it goes

	doubles, deleted int64 // rows left out so far
}

func (m *merge) rows(ctx context.Context) store.Rows {
	return func(yield func(*store.StreamRows, error) bool) {
		inputs := make([]*input, 0, len(m.segments))
		for _, s := range m.segments {
			in := &input{merge: m}
			in.next, in.stop = iter.Pull2(s.Batches(m.start, m.end))
			defer in.close()
			inputs = append(inputs, in)
		}
		if err := m.run(ctx, inputs, yield); err != nil {
			yield(nil, err)
		}
	}
}

// run returns nil too when yield has returned false.
func (m *merge) run(ctx context.Context, inputs []*input, yield func(*store.StreamRows, error) bool) error {
	for _, in := range inputs {
		if err := in.nextRun(ctx); err != nil {
			return err
		}
	}
	p := &piece{}
	more := true
	flush := func() error {
		if len(p.Times) == 0 {
			return nil
		}
		if m.pace != nil {
			if err := m.pace(ctx, len(p.Lines.Data)); err != nil {
				return err
			}
		}
		more = yield(p.take(), nil)
		p.reset(p.Labels)
		return nil
	}
	group := make([]*input, 0, len(inputs))
	for more {
		inputs = slices.DeleteFunc(inputs, func(in *input) bool { return in.stream == nil })
		if len(inputs) == 0 {
			return nil
		}
		first := inputs[0].stream.Labels
		for _, in := range inputs[1:] {
			if labels.Compare(in.stream.Labels, first) < 0 {
				first = in.stream.Labels
			}
		}
		group = group[:0]
		for _, in := range inputs {
			if labels.Equal(in.stream.Labels, first) {
				group = append(group, in)
			}
		}
		p.reset(first)
		if err := m.stream(ctx, group, p, flush, &more); err != nil || !more {
			return err
		}
		if err := flush(); err != nil {
			return err
		}
	}
	return nil
}

// stream merges one stream. All inputs of the group stand at rows of it.
func (m *merge) stream(ctx context.Context, group []*input, p *piece, flush func() error, more *bool) error {
	ls := p.Labels
	for *more {
		group = slices.DeleteFunc(group, func(in *input) bool {
			return in.stream == nil || !labels.Equal(in.stream.Labels, ls)
		})
		if len(group) == 0 {
			return nil
		}
		// The input with the earliest row, and how far it is alone.
		low, until := group[0], int64(math.MaxInt64)
		for _, in := range group[1:] {
			if in.time() < low.time() {
				low = in
			}
		}
		for _, in := range group {
			if in != low {
				until = min(until, in.time())
			}
		}
		if len(group) == 1 || low.time() < until {
			to := low.to
			if len(group) > 1 {
				to = low.row + sort.Search(low.to-low.row, func(i int) bool { return low.times[low.row+i] >= until })
			}
			for low.row < to && !p.full() {
				p.add(low)
				low.row++
			}
			if err := low.settle(ctx); err != nil {
				return err
			}
		} else {
			at := low.time()
			p.same()
			for _, in := range group {
				for in.stream != nil && labels.Equal(in.stream.Labels, ls) && in.time() == at {
					if !p.addUnique(in) {
						m.doubles++
					}
					in.row++
					if err := in.settle(ctx); err != nil {
						return err
					}
					if !p.holds(sameBytes, sameRows) {
						continue
					}
					if err := flush(); err != nil || !*more {
						return err
					}
				}
			}
		}
		if p.full() {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// input is a segment that is being read: a row of a run of a page.
type input struct {
	merge *merge
	next  func() (*column.Batch, error, bool)
	stop  func()

	batch *column.Batch
	run   int // of the batch, the next one

	stream  *column.Stream // nil: there are no more rows
	row, to int            // in the page
	times   []int64
	lines   column.Lines
	metas   []inputMeta
}

// inputMeta is a metadata column of the page at hand.
type inputMeta struct {
	column.Metadata
	name  string
	epoch int      // of the piece that remap is for
	remap []uint32 // value → its number in the piece, 0 for none
	to    *pieceMeta
}

func (in *input) time() int64 { return in.times[in.row] }

func (in *input) close() {
	if in.batch != nil {
		in.batch.Release()
		in.batch = nil
	}
	in.stop()
}

// settle goes on to the next run if this one is at its end.
func (in *input) settle(ctx context.Context) error {
	if in.row < in.to {
		return nil
	}
	return in.nextRun(ctx)
}

// nextRun goes to the next run that has rows of interest.
func (in *input) nextRun(ctx context.Context) error {
	for {
		for in.batch == nil || in.run == len(in.batch.Runs) {
			if more, err := in.nextBatch(ctx); err != nil || !more {
				return err
			}
		}
		r := &in.batch.Runs[in.run]
		in.run++
		in.stream, in.row, in.to = r.Stream, r.From, r.To
		times := in.times[r.From:r.To]
		if r.MinTime < in.merge.start {
			in.row += sort.Search(len(times), func(i int) bool { return times[i] >= in.merge.start })
		}
		if r.MaxTime >= in.merge.end {
			in.to = r.From + sort.Search(len(times), func(i int) bool { return times[i] >= in.merge.end })
		}
		if in.row < in.to {
			return nil
		}
	}
}

func (in *input) nextBatch(ctx context.Context) (bool, error) {
	if in.batch != nil {
		in.batch.Release()
		in.batch = nil
	}
	in.stream = nil
	if err := ctx.Err(); err != nil {
		return false, err
	}
	b, err, ok := in.next()
	if err != nil || !ok {
		return false, err
	}
	in.batch, in.run = b, 0
	for _, n := range in.merge.narrowers {
		dropped, err := n.narrow(ctx, b, in.merge.start, in.merge.end)
		if err != nil {
			return false, err
		}
		in.merge.deleted += dropped
	}
	if len(b.Runs) == 0 {
		return true, nil
	}
	if in.times, err = b.Times(ctx); err != nil {
		return false, err
	}
	if in.lines, err = b.Lines(ctx); err != nil {
		return false, err
	}
	names, err := b.MetadataNames(ctx)
	if err != nil {
		return false, err
	}
	in.metas = in.metas[:0]
	for _, n := range names {
		md, err := b.Metadata(ctx, n)
		if err != nil {
			return false, err
		}
		if md.Index != nil {
			in.metas = append(in.metas, inputMeta{Metadata: md, name: n})
		}
	}
	return true, nil
}

// piece collects rows of a stream. It owns all that it holds.
type piece struct {
	store.StreamRows
	epoch int // counts resets
	metas []*pieceMeta
	size  int // of metadata values

	from int              // the first row of those that addUnique compares with
	seen map[uint64][]int // hash of lines → such rows; nil while there are few
}

type pieceMeta struct {
	store.NamedMetadata
}

func (p *piece) reset(ls labels.Labels) {
	p.epoch++
	p.Labels = ls
	p.Times = p.Times[:0]
	p.Lines.Data = p.Lines.Data[:0]
	p.Lines.Offsets = append(p.Lines.Offsets[:0], 0)
	p.metas = p.metas[:0]
	p.size = 0
	p.same()
}

func (p *piece) full() bool { return p.holds(pieceBytes, pieceRows) }

// holds tells whether there are so many bytes or rows.
func (p *piece) holds(size, rows int) bool {
	return len(p.Lines.Data)+p.size >= size || len(p.Times) >= rows
}

// take returns the rows, which are valid until the next reset.
func (p *piece) take() *store.StreamRows {
	p.Metadata = p.Metadata[:0]
	slices.SortFunc(p.metas, func(a, b *pieceMeta) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	for _, m := range p.metas {
		m.pad(len(p.Times))
		p.Metadata = append(p.Metadata, m.NamedMetadata)
	}
	return &p.StreamRows
}

func (m *pieceMeta) pad(rows int) {
	for len(m.Index) < rows {
		m.Index = append(m.Index, 0)
	}
}

// add appends the row that an input stands at.
func (p *piece) add(in *input) {
	row := len(p.Times)
	p.Times = append(p.Times, in.times[in.row])
	p.Lines.Data = append(p.Lines.Data, in.lines.Row(in.row)...)
	p.Lines.Offsets = append(p.Lines.Offsets, uint32(len(p.Lines.Data)))
	for i := range in.metas {
		m := &in.metas[i]
		x := m.Index[in.row]
		if x == 0 {
			continue
		}
		if m.epoch != p.epoch {
			m.epoch, m.to = p.epoch, p.column(m.name)
			m.remap = slices.Grow(m.remap[:0], len(m.Values))[:len(m.Values)]
			clear(m.remap)
		}
		id := m.remap[x-1]
		if id == 0 {
			m.to.Values = append(m.to.Values, bytes.Clone(m.Values[x-1]))
			p.size += len(m.Values[x-1])
			id = uint32(len(m.to.Values))
			m.remap[x-1] = id
		}
		m.to.pad(row)
		m.to.Index = append(m.to.Index, id)
	}
}

func (p *piece) column(name string) *pieceMeta {
	for _, m := range p.metas {
		if m.Name == name {
			return m
		}
	}
	m := &pieceMeta{store.NamedMetadata{Name: name}}
	p.metas = append(p.metas, m)
	return m
}

// same begins a group of rows of equal times.
func (p *piece) same() {
	p.from = len(p.Times)
	p.seen = nil
}

// addUnique is add unless the group has an equal row; it tells whether it has added.
func (p *piece) addUnique(in *input) bool {
	const few = 8
	line := in.lines.Row(in.row)
	row := len(p.Times)
	var hash uint64
	if row-p.from < few {
		for r := p.from; r < row; r++ {
			if p.equal(r, in, line) {
				return false
			}
		}
	} else {
		if p.seen == nil {
			p.seen = make(map[uint64][]int)
			for r := p.from; r < row; r++ {
				h := xxhash.Sum64(p.Lines.Row(r))
				p.seen[h] = append(p.seen[h], r)
			}
		}
		hash = xxhash.Sum64(line)
		for _, r := range p.seen[hash] {
			if p.equal(r, in, line) {
				return false
			}
		}
		p.seen[hash] = append(p.seen[hash], row)
	}
	p.add(in)
	return true
}

// equal compares row r with the one that an input stands at, whose line it is.
func (p *piece) equal(r int, in *input, line []byte) bool {
	if !bytes.Equal(p.Lines.Row(r), line) {
		return false
	}
	n := 0
	for i := range in.metas {
		v, ok := in.metas[i].Row(in.row)
		if !ok {
			continue
		}
		n++
		found := false
		for _, m := range p.metas {
			if m.Name == in.metas[i].name {
				w, ok := m.value(r)
				found = ok && bytes.Equal(v, w)
			}
		}
		if !found {
			return false
		}
	}
	for _, m := range p.metas {
		if _, ok := m.value(r); ok {
			n--
		}
	}
	return n == 0
}

func (m *pieceMeta) value(row int) ([]byte, bool) {
	if row >= len(m.Index) {
		return nil, false
	}
	return m.Row(row)
}
