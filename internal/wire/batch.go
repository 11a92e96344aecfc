package wire

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/internal/alias"
	"example.com/loki/internal/wire/wirepb"
	"example.com/loki/logql"
	"example.com/loki/logql/column"
	"example.com/loki/logql/pipeline"
	"example.com/loki/logql/syntax"
)

// EncodeSelect returns the message for req.
func EncodeSelect(req *logql.SelectRequest) *wirepb.SelectRequest {
	m := &wirepb.SelectRequest{
		Matchers: EncodeMatchers(req.Matchers),
		Start:    req.Start,
		End:      req.End,
		Forward:  req.Direction == logql.Forward,
		Metadata: EncodeMatchers(req.Metadata),
		HasParts: req.Parts != nil,
		Parts:    req.Parts,
		Known:    req.Known,
		Query:    alias.Bytes(req.Query),
		Overlaps: req.Overlaps != nil,
		Since:    req.Since,
		Until:    req.Until,
	}
	if w := req.Wants; w != nil && !w.Lines {
		m.Wants = &wirepb.Wants{Lengths: w.Lengths, Metadata: w.Metadata, Names: ToBytes(w.Names), Hashes: w.Hashes}
	}
	for _, n := range req.Contains {
		m.Contains = append(m.Contains, &wirepb.Needle{Text: alias.Bytes(n.Text), FoldCase: n.FoldCase})
	}
	return m
}

// DecodeSelect returns what EncodeSelect was given, but for the function that takes overlaps: see
// BatchSender.Overlaps.
func DecodeSelect(m *wirepb.SelectRequest) (*logql.SelectRequest, error) {
	matchers, err := DecodeMatchers(m.Matchers)
	if err != nil {
		return nil, err
	}
	metadata, err := DecodeMatchers(m.Metadata)
	if err != nil {
		return nil, err
	}
	req := &logql.SelectRequest{
		Matchers:  matchers,
		Start:     m.Start,
		End:       m.End,
		Direction: DecodeDirection(m.Forward),
		Metadata:  metadata,
		Parts:     Parts(m.HasParts, m.Parts),
		Known:     Parts(len(m.Known) > 0, m.Known),
		Query:     string(m.Query),
		Since:     m.Since,
		Until:     m.Until,
	}
	if w := m.Wants; w != nil {
		req.Wants = &logql.Wants{Lengths: w.Lengths, Metadata: w.Metadata, Names: ToStrings(w.Names), Hashes: w.Hashes}
	}
	for _, n := range m.Contains {
		req.Contains = append(req.Contains, column.Needle{Text: string(n.Text), FoldCase: n.FoldCase})
	}
	return req, nil
}

// BatchSender sends the batches of one call of Select. Rows that the request's time range, query and hints
// rule out are not sent, and neither are rows outside of runs and columns that the reader doesn't want.
type BatchSender struct {
	req     *logql.SelectRequest
	sieve   *pipeline.Worker // nil if the request has no query, or one without stages
	hasher  column.Hasher
	send    func(*wirepb.SelectPiece) error
	streams map[uint64][]sentStream // by hash
	count   uint32
}

type sentStream struct {
	labels labels.Labels
	number uint32
}

// NewBatchSender returns a sender for the answer to req. The error is about the query.
func NewBatchSender(req *logql.SelectRequest, send func(*wirepb.SelectPiece) error) (*BatchSender, error) {
	s := &BatchSender{req: req, send: send, streams: map[uint64][]sentStream{}}
	if req.Query == "" {
		return s, nil
	}
	log, err := syntax.ParseLog(req.Query)
	if err != nil || len(log.Stages) == 0 {
		return s, err
	}
	stages, err := pipeline.Compile(log.Stages, pipeline.Options{LazyGroup: true, SkipLength: true})
	if err != nil {
		return nil, err
	}
	s.sieve = stages.Worker()
	return s, nil
}

// stream returns the number of a stream, and adds it to the message if it is new.
func (s *BatchSender) stream(m *wirepb.SelectPiece, st *column.Stream) uint32 {
	for _, known := range s.streams[st.Hash] {
		if labels.Equal(known.labels, st.Labels) {
			return known.number
		}
	}
	n := s.count
	s.count++
	s.streams[st.Hash] = append(s.streams[st.Hash], sentStream{st.Labels, n})
	m.Streams = append(m.Streams, EncodeLabels(st.Labels))
	return n
}

// Send sends a batch. It does not release it.
func (s *BatchSender) Send(ctx context.Context, b *column.Batch) error {
	times, err := b.Times(ctx)
	if err != nil {
		return err
	}
	picked, err := s.pick(ctx, b, times)
	if err != nil || picked.count == 0 {
		return err
	}
	m := &wirepb.SelectPiece{MinTime: b.MinTime, MaxTime: b.MaxTime, Part: alias.Bytes(b.Part), Page: int64(b.Page)}
	for i, rows := range picked.perRun {
		if rows > 0 {
			m.Runs = append(m.Runs, &wirepb.Run{Stream: s.stream(m, b.Runs[i].Stream), Rows: rows, Shared: b.Runs[i].Shared})
		}
	}
	m.Times = gather(times, picked)
	m.Sifted = s.req.Query != "" // without stages all rows pass
	data, err := s.content(ctx, m, b, picked)
	if err != nil {
		return err
	}
	columns, err := s.metadata(ctx, b, picked)
	if err != nil {
		return err
	}
	m.RawBytes, m.MetadataBytes, m.Head = b.RawBytes, b.MetadataBytes, b.Head
	if b.Fetched != nil {
		m.Fetched = b.Fetched()
	}
	return s.sendPieces(m, data, columns)
}

// selection is rows of a batch: whole ranges of them.
type selection struct {
	ranges []rowRange // ascending, apart from each other
	perRun []uint32   // how many rows of each run
	count  int
}

type rowRange struct{ from, to int }

func (p *selection) add(run, from, to int) {
	if from >= to {
		return
	}
	if n := len(p.ranges); n > 0 && p.ranges[n-1].to == from {
		p.ranges[n-1].to = to
	} else {
		p.ranges = append(p.ranges, rowRange{from, to})
	}
	p.perRun[run] += uint32(to - from)
	p.count += to - from
}

// pick returns the rows that are worth sending.
func (s *BatchSender) pick(ctx context.Context, b *column.Batch, times []int64) (*selection, error) {
	if s.sieve != nil && !b.Sifted {
		p := &selection{perRun: make([]uint32, len(b.Runs))}
		err := s.sieve.Run(ctx, b, s.req.Start, s.req.End, func(r *pipeline.Row) bool {
			p.add(r.Run, r.Index, r.Index+1)
			return true
		})
		return p, err
	}
	var tests []rowTest
	if !b.Sifted {
		var err error
		if tests, err = s.rowTests(ctx, b); err != nil {
			return nil, err
		}
	}
	p := &selection{perRun: make([]uint32, len(b.Runs))}
	for i := range b.Runs {
		r := &b.Runs[i]
		from, to := r.From, r.To
		if r.MinTime < s.req.Start {
			n, _ := slices.BinarySearch(times[from:to], s.req.Start)
			from += n
		}
		if r.MaxTime >= s.req.End {
			n, _ := slices.BinarySearch(times[from:to], s.req.End)
			to = from + n
		}
		if len(tests) == 0 {
			p.add(i, from, to)
			continue
		}
	rows:
		for row := from; row < to; row++ {
			for _, test := range tests {
				if !test(r, row) {
					continue rows
				}
			}
			p.add(i, row, row+1)
		}
	}
	return p, nil
}

type rowTest func(r *column.Run, row int) bool

// rowTests returns the hints as tests of single rows. Needles that fold case are left to the reader.
func (s *BatchSender) rowTests(ctx context.Context, b *column.Batch) ([]rowTest, error) {
	var tests []rowTest
	for _, m := range s.req.Metadata {
		col, err := b.Metadata(ctx, m.Name)
		if err != nil {
			return nil, err
		}
		tests = append(tests, func(r *column.Run, row int) bool {
			if v, ok := col.Row(row); ok {
				return alias.String(v) == m.Value
			}
			return r.Stream.Labels.Get(m.Name) == m.Value
		})
	}
	for _, n := range s.req.Contains {
		if n.FoldCase || n.Text == "" {
			continue
		}
		lines, err := b.Lines(ctx)
		if err != nil {
			return nil, err
		}
		tests = append(tests, (&finder{lines: lines, needle: []byte(n.Text), hit: -1}).contains)
	}
	return tests, nil
}

// finder searches all lines of a page at once: where the needle is rare it looks at few single lines.
type finder struct {
	lines  column.Lines
	needle []byte
	hit    int // offset of the next place in Data at or after the last row asked for; -1: not known
}

func (f *finder) contains(_ *column.Run, row int) bool {
	from, to := int(f.lines.Offsets[row]), int(f.lines.Offsets[row+1])
	if f.hit < from {
		f.next(from)
	}
	for f.hit < to {
		if f.hit+len(f.needle) <= to {
			return true
		}
		f.next(f.hit + 1) // it reaches into the next row
	}
	return false
}

func (f *finder) next(from int) {
	if n := bytes.Index(f.lines.Data[from:], f.needle); n >= 0 {
		f.hit = from + n
	} else {
		f.hit = len(f.lines.Data) + 1
	}
}

// gather returns the values of the selected rows, without a copy where they lie together.
func gather[T any](values []T, p *selection) []T {
	if len(p.ranges) == 1 {
		return values[p.ranges[0].from:p.ranges[0].to]
	}
	out := make([]T, 0, p.count)
	for _, r := range p.ranges {
		out = append(out, values[r.from:r.to]...)
	}
	return out
}

// content enters what the reader wants of the selected rows, beside times and metadata, in m. It returns the
// bytes of the lines.
func (s *BatchSender) content(ctx context.Context, m *wirepb.SelectPiece, b *column.Batch, p *selection) ([]byte, error) {
	w := s.req.Wants
	if w == nil || w.Lines {
		lines, err := b.Lines(ctx)
		if err != nil {
			return nil, err
		}
		return s.lines(m, lines, p), nil
	}
	m.Partial = true
	if w.Lengths {
		lengths, err := b.LineLengths(ctx)
		if err != nil {
			return nil, err
		}
		m.Lengths = gather(lengths, p)
	}
	if w.Hashes || slices.ContainsFunc(b.Runs, func(r column.Run) bool { return r.Shared }) {
		if err := s.hasher.Reset(ctx, b.Columns); err != nil {
			return nil, err
		}
		m.Hashes = make([]uint64, 0, p.count)
		for _, r := range p.ranges {
			for row := r.from; row < r.to; row++ {
				m.Hashes = append(m.Hashes, s.hasher.Row(row))
			}
		}
	}
	return nil, nil
}

// lines returns the bytes of the selected lines and enters their lengths in m.
func (s *BatchSender) lines(m *wirepb.SelectPiece, l column.Lines, p *selection) []byte {
	m.Lengths = make([]uint32, 0, p.count)
	size := 0
	for _, r := range p.ranges {
		size += int(l.Offsets[r.to] - l.Offsets[r.from])
		for row := r.from; row < r.to; row++ {
			m.Lengths = append(m.Lengths, l.Offsets[row+1]-l.Offsets[row])
		}
	}
	m.LineBytes = uint64(size)
	if len(p.ranges) == 1 {
		r := p.ranges[0]
		return l.Data[l.Offsets[r.from]:l.Offsets[r.to]]
	}
	data := make([]byte, 0, size)
	for _, r := range p.ranges {
		data = append(data, l.Data[l.Offsets[r.from]:l.Offsets[r.to]]...)
	}
	return data
}

// metadata returns the columns that have a value in a selected row.
func (s *BatchSender) metadata(ctx context.Context, b *column.Batch, p *selection) ([]*wirepb.MetadataColumn, error) {
	names, err := b.MetadataNames(ctx)
	if err != nil {
		return nil, err
	}
	var out []*wirepb.MetadataColumn
	for _, name := range names {
		if w := s.req.Wants; w != nil && !w.Lines && !w.Metadata && !slices.Contains(w.Names, name) {
			continue
		}
		col, err := b.Metadata(ctx, name)
		if err != nil {
			return nil, err
		}
		if col.Index == nil {
			continue
		}
		m := &wirepb.MetadataColumn{Name: alias.Bytes(name), Values: col.Values, Index: gather(col.Index, p)}
		if p.count < b.Rows() && !compact(m) {
			continue
		}
		out = append(out, m)
	}
	return out, nil
}

// compact drops values that no row has, and tells whether any is left.
func compact(m *wirepb.MetadataColumn) bool {
	numbers := make([]uint32, len(m.Values)+1)
	var values [][]byte
	index := make([]uint32, len(m.Index)) // that of m may be the batch's own
	for i, n := range m.Index {
		if n == 0 {
			continue
		}
		if numbers[n] == 0 {
			values = append(values, m.Values[n-1])
			numbers[n] = uint32(len(values))
		}
		index[i] = numbers[n]
	}
	m.Values, m.Index = values, index
	return len(values) > 0
}

// sendPieces sends a batch in as many messages as it takes.
func (s *BatchSender) sendPieces(m *wirepb.SelectPiece, data []byte, columns []*wirepb.MetadataColumn) error {
	room := PieceSize
	flush := func() error {
		m.More = true
		err := s.send(m)
		m, room = &wirepb.SelectPiece{}, PieceSize
		return err
	}
	room -= 10*len(m.Times) + 8*len(m.Hashes)
	for {
		n := min(len(data), max(room, 0))
		m.Lines, data = data[:n], data[n:]
		room -= n
		if len(data) == 0 {
			break
		}
		if err := flush(); err != nil {
			return err
		}
	}
	for _, c := range columns {
		c := &wirepb.MetadataColumn{Name: c.Name, Values: c.Values, Index: c.Index}
		for values, index := c.Values, c.Index; ; {
			n, size := 0, 0
			for n < len(values) && (size < room || n == 0) {
				size += len(values[n]) + 3
				n++
			}
			c.Values, values = values[:n], values[n:]
			m.Metadata = append(m.Metadata, c)
			if room -= size; len(values) == 0 {
				c.Index = index
				room -= len(index)
				break
			}
			c.Index = nil
			if err := flush(); err != nil {
				return err
			}
			c = &wirepb.MetadataColumn{Name: c.Name}
		}
		if room <= 0 {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return s.send(m)
}

// BatchReceiver makes batches of the messages of one call of Select.
type BatchReceiver struct {
	streams []*column.Stream
	labels  LabelDecoder
	batch   *column.Batch
	columns *columns
	want    uint64 // bytes of lines
}

// Add takes a message. It returns a batch when one is complete, nil while it is not.
func (r *BatchReceiver) Add(m *wirepb.SelectPiece) (*column.Batch, error) {
	for _, b := range m.Streams {
		ls, err := r.labels.Decode(b)
		if err != nil {
			return nil, err
		}
		r.streams = append(r.streams, column.NewStream(ls))
	}
	if r.batch == nil {
		if err := r.begin(m); err != nil {
			return nil, err
		}
	} else {
		if uint64(len(r.columns.data)+len(m.Lines)) > r.want {
			return nil, Malformed("more than the %d bytes of lines that were announced", r.want)
		}
		r.columns.data = append(r.columns.data, m.Lines...)
	}
	for _, c := range m.Metadata {
		r.columns.addMetadata(c)
	}
	if m.More {
		return nil, nil
	}
	b := r.batch
	r.batch = nil
	return b, r.columns.check(r.want)
}

// begin makes the batch that a message begins.
func (r *BatchReceiver) begin(m *wirepb.SelectPiece) error {
	if len(m.Lengths) != len(m.Times) && !(m.Partial && len(m.Lengths) == 0) {
		return Malformed("%d lines at %d times", len(m.Lengths), len(m.Times))
	}
	if n := len(m.Hashes); n != 0 && n != len(m.Times) {
		return Malformed("%d hashes of %d rows", n, len(m.Times))
	}
	r.want = m.LineBytes
	r.columns = &columns{times: m.Times, lengths: m.Lengths, data: m.Lines, hashes: m.Hashes, partial: m.Partial}
	if uint64(len(m.Lines)) < r.want {
		r.columns.data = append(make([]byte, 0, min(r.want, maxTrusted)), m.Lines...)
	}
	b := &column.Batch{
		Runs:     make([]column.Run, len(m.Runs)),
		MinTime:  m.MinTime,
		MaxTime:  m.MaxTime,
		Part:     string(m.Part),
		Page:     int(m.Page),
		RawBytes: m.RawBytes,
		Columns:  r.columns,

		MetadataBytes: m.MetadataBytes,
		Head:          m.Head,
		Sifted:        m.Sifted,
	}
	if m.Fetched != 0 {
		fetched := m.Fetched
		b.Fetched = func() int64 { return fetched }
	}
	at := 0
	for i, run := range m.Runs {
		to := at + int(run.Rows)
		if run.Rows == 0 || to > len(m.Times) || int(run.Stream) >= len(r.streams) {
			return Malformed("run %d of %d rows from row %d of %d, stream %d of %d", i, run.Rows, at, len(m.Times), run.Stream, len(r.streams))
		}
		b.Runs[i] = column.Run{
			Stream: r.streams[run.Stream], From: at, To: to,
			MinTime: m.Times[at], MaxTime: m.Times[to-1], Shared: run.Shared,
		}
		at = to
	}
	if at != len(m.Times) {
		return Malformed("runs of %d rows in a batch of %d", at, len(m.Times))
	}
	r.batch = b
	return nil
}

// columns are those of a batch that was received: slices of its messages.
type columns struct {
	times    []int64
	lengths  []uint32
	data     []byte
	metadata []*wirepb.MetadataColumn // ascending by name
	hashes   []uint64                 // nil: not known
	partial  bool                     // there are no lines, and lengths only if they were asked for

	once    sync.Once
	offsets []uint32 // set by once
}

// addMetadata adds a column, or goes on with the last one.
func (c *columns) addMetadata(m *wirepb.MetadataColumn) {
	if n := len(c.metadata); n > 0 && bytes.Equal(c.metadata[n-1].Name, m.Name) {
		last := c.metadata[n-1]
		last.Values = append(last.Values, m.Values...)
		last.Index = m.Index
		return
	}
	c.metadata = append(c.metadata, m)
}

// check makes sure that no method can fail.
func (c *columns) check(want uint64) error {
	if c.partial {
		if len(c.data) > 0 || want > 0 {
			return Malformed("lines that were not asked for")
		}
	} else if n := sum(c.lengths); n != len(c.data) || uint64(n) != want {
		return Malformed("lines of %d bytes in %d of %d", n, len(c.data), want)
	}
	for i, m := range c.metadata {
		if i > 0 && bytes.Compare(c.metadata[i-1].Name, m.Name) >= 0 {
			return Malformed("metadata %q and %q are out of order", c.metadata[i-1].Name, m.Name)
		}
		if len(m.Index) != len(c.times) {
			return Malformed("metadata of %d rows in a batch of %d", len(m.Index), len(c.times))
		}
		if len(m.Index) > 0 && int(slices.Max(m.Index)) > len(m.Values) {
			return Malformed("metadata value %d of %d", slices.Max(m.Index), len(m.Values))
		}
	}
	return nil
}

// Rows implements column.Columns.
func (c *columns) Rows() int { return len(c.times) }

// Times implements column.Columns.
func (c *columns) Times(context.Context) ([]int64, error) { return c.times, nil }

// errNotWanted means that a query asks for more than its plan said that it would.
var errNotWanted = errors.New("wire: a column that was not asked for")

// LineLengths implements column.Columns.
func (c *columns) LineLengths(context.Context) ([]uint32, error) {
	if len(c.lengths) < len(c.times) {
		return nil, errNotWanted
	}
	return c.lengths, nil
}

// Hashes implements column.Hashed.
func (c *columns) Hashes(context.Context) ([]uint64, error) { return c.hashes, nil }

// Lines implements column.Columns.
func (c *columns) Lines(context.Context) (column.Lines, error) {
	if c.partial {
		return column.Lines{}, errNotWanted
	}
	c.once.Do(func() {
		c.offsets = make([]uint32, len(c.lengths)+1)
		at := uint32(0)
		for i, n := range c.lengths {
			at += n
			c.offsets[i+1] = at
		}
	})
	return column.Lines{Data: c.data, Offsets: c.offsets}, nil
}

// MetadataNames implements column.Columns.
func (c *columns) MetadataNames(context.Context) ([]string, error) {
	names := make([]string, len(c.metadata))
	for i, m := range c.metadata {
		names[i] = alias.String(m.Name)
	}
	return names, nil
}

// Metadata implements column.Columns.
func (c *columns) Metadata(_ context.Context, name string) (column.Metadata, error) {
	n, ok := slices.BinarySearchFunc(c.metadata, name, func(m *wirepb.MetadataColumn, name string) int {
		return bytes.Compare(m.Name, alias.Bytes(name))
	})
	if !ok {
		return column.Metadata{}, nil
	}
	return column.Metadata{Values: c.metadata[n].Values, Index: c.metadata[n].Index}, nil
}

// Release implements column.Columns. The memory goes when nobody refers to it any more.
func (c *columns) Release() {}
