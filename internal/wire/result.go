package wire

import (
	"context"
	"iter"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/grpc"

	"example.com/loki/internal/alias"
	"example.com/loki/internal/wire/wirepb"
	"example.com/loki/logql"
)

// streamsWriter cuts streams of a result into pieces.
type streamsWriter struct {
	streams       []logql.StreamResult
	stream, entry int // where the next piece begins
}

// next returns the streams of the next piece, and whether there are more.
func (w *streamsWriter) next() (out []*wirepb.StreamResult, more bool) {
	size := 0
	for ; w.stream < len(w.streams); w.stream, w.entry = w.stream+1, 0 {
		if size >= PieceSize {
			return out, true
		}
		s := &w.streams[w.stream]
		m := &wirepb.StreamResult{Continued: w.entry > 0}
		if !m.Continued {
			m.Labels = EncodeLabels(s.Labels)
			size += len(m.Labels) + 8
		}
		out = append(out, m)
		sets := setWriter{msg: m}
		for ; w.entry < len(s.Entries); w.entry++ {
			if size >= PieceSize && len(m.Times) > 0 {
				return out, true
			}
			e := &s.Entries[w.entry]
			m.Times = append(m.Times, e.Time)
			m.Lengths = append(m.Lengths, uint32(len(e.Line)))
			m.Lines = append(m.Lines, e.Line...)
			size += 10 + len(e.Line) + sets.add(e)
		}
	}
	return out, false
}

// setWriter numbers the label sets of the entries of a stream.
type setWriter struct {
	msg     *wirepb.StreamResult
	numbers map[string]uint32
	buf     []byte
}

// add enters the sets of the entry that was appended last and returns how many bytes that takes.
func (w *setWriter) add(e *logql.EntryResult) int {
	m := w.msg
	if m.Metadata == nil {
		if e.Metadata.IsEmpty() && e.Parsed.IsEmpty() {
			return 0
		}
		m.Metadata = make([]uint32, len(m.Times)-1)
		m.Parsed = make([]uint32, len(m.Times)-1)
	}
	n := 2
	m.Metadata = append(m.Metadata, w.number(e.Metadata, &n))
	m.Parsed = append(m.Parsed, w.number(e.Parsed, &n))
	return n
}

func (w *setWriter) number(ls labels.Labels, size *int) uint32 {
	if ls.IsEmpty() {
		return 0
	}
	w.buf = AppendLabels(w.buf[:0], ls)
	if n, ok := w.numbers[alias.String(w.buf)]; ok {
		return n
	}
	if w.numbers == nil {
		w.numbers = map[string]uint32{}
	}
	set := string(w.buf)
	w.msg.Sets = append(w.msg.Sets, alias.Bytes(set))
	n := uint32(len(w.msg.Sets))
	w.numbers[set] = n
	*size += len(set) + 3
	return n
}

// readStreams appends the streams of a piece to dst.
func readStreams(dst []logql.StreamResult, in []*wirepb.StreamResult, d *LabelDecoder) ([]logql.StreamResult, error) {
	for _, m := range in {
		if len(m.Lengths) != len(m.Times) || sum(m.Lengths) != len(m.Lines) ||
			len(m.Metadata) != len(m.Parsed) || len(m.Metadata) != 0 && len(m.Metadata) != len(m.Times) {
			return nil, Malformed("%d times, %d lines of %d bytes in %d, %d and %d sets of labels",
				len(m.Times), len(m.Lengths), sum(m.Lengths), len(m.Lines), len(m.Metadata), len(m.Parsed))
		}
		sets := make([]labels.Labels, len(m.Sets)+1)
		for i, b := range m.Sets {
			var err error
			if sets[i+1], err = d.Decode(b); err != nil {
				return nil, err
			}
		}
		entries := make([]logql.EntryResult, len(m.Times))
		lines := string(m.Lines)
		for i := range entries {
			n := m.Lengths[i]
			entries[i] = logql.EntryResult{Time: m.Times[i], Line: lines[:n]}
			lines = lines[n:]
			if len(m.Metadata) > 0 {
				a, b := int(m.Metadata[i]), int(m.Parsed[i])
				if a >= len(sets) || b >= len(sets) {
					return nil, Malformed("label sets %d and %d of %d", a, b, len(sets)-1)
				}
				entries[i].Metadata, entries[i].Parsed = sets[a], sets[b]
			}
		}
		if m.Continued {
			if len(dst) == 0 {
				return nil, Malformed("the first stream goes on with none")
			}
			last := &dst[len(dst)-1]
			last.Entries = append(last.Entries, entries...)
			continue
		}
		ls, err := d.Decode(m.Labels)
		if err != nil {
			return nil, err
		}
		dst = append(dst, logql.StreamResult{Labels: ls, Entries: entries})
	}
	return dst, nil
}

// Tailed is a batch of new entries of a live query.
type Tailed struct {
	Streams []logql.StreamResult
	Dropped int
	Lost    []logql.Lost // the first of those dropped
}

// EncodeLost returns lost entries as they travel.
func EncodeLost(lost []logql.Lost) []*wirepb.LostEntry {
	var out []*wirepb.LostEntry
	for _, l := range lost {
		out = append(out, &wirepb.LostEntry{Labels: EncodeLabels(l.Labels), Time: l.Time})
	}
	return out
}

// DecodeLost appends what EncodeLost was given to dst.
func DecodeLost(dst []logql.Lost, lost []*wirepb.LostEntry, d *LabelDecoder) ([]logql.Lost, error) {
	for _, l := range lost {
		ls, err := d.Decode(l.Labels)
		if err != nil {
			return nil, err
		}
		dst = append(dst, logql.Lost{Labels: ls, Time: l.Time})
	}
	return dst, nil
}

// SendTail sends a batch.
func SendTail(t Tailed, send func(*wirepb.TailPiece) error) error {
	w := streamsWriter{streams: t.Streams}
	m := &wirepb.TailPiece{Dropped: int64(t.Dropped), Lost: EncodeLost(t.Lost)}
	for {
		m.Streams, m.More = w.next()
		if err := send(m); err != nil || !m.More {
			return err
		}
		m = &wirepb.TailPiece{}
	}
}

// AskTail yields the batches that SendTail sends. The end of ctx ends it without an error.
func AskTail(ctx context.Context, req *wirepb.TailRequest, kinds []Kind,
	call func(context.Context, *wirepb.TailRequest, ...grpc.CallOption) (grpc.ServerStreamingClient[wirepb.TailPiece], error)) iter.Seq2[Tailed, error] {
	return func(yield func(Tailed, error) bool) {
		var d LabelDecoder
		var t Tailed
		for m, err := range Messages(ctx, kinds, Open(call, req)) {
			if err != nil && ctx.Err() != nil {
				return
			}
			if err == nil {
				t.Dropped += int(m.Dropped)
				t.Streams, err = readStreams(t.Streams, m.Streams, &d)
			}
			if err == nil {
				t.Lost, err = DecodeLost(t.Lost, m.Lost, &d)
			}
			if err != nil {
				yield(Tailed{}, err)
				return
			}
			if m.More {
				continue
			}
			if !yield(t, nil) {
				return
			}
			t = Tailed{}
		}
	}
}

// SendResult sends the answer to a query.
func SendResult(res *logql.Result, send func(*wirepb.ResultPiece) error) error {
	m := &wirepb.ResultPiece{Head: &wirepb.ResultHead{
		Type:        []byte(res.Type),
		ScalarTime:  res.Scalar.Time,
		ScalarValue: res.Scalar.Value,
		Stats:       statNumbers(res.Stats),
		Warnings:    ToBytes(res.Warnings),
	}}
	w := streamsWriter{streams: res.Streams}
	for more := len(res.Streams) > 0; more; {
		if m.Streams, more = w.next(); more {
			if err := send(m); err != nil {
				return err
			}
			m = &wirepb.ResultPiece{}
		}
	}
	size := 0
	for i := range res.Series {
		s := &res.Series[i]
		out := &wirepb.SeriesResult{Labels: EncodeLabels(s.Labels)}
		m.Series = append(m.Series, out)
		size += len(out.Labels) + 8
		for points := s.Points; ; {
			n := min(len(points), max(1, (PieceSize-size)/16))
			out.Times, out.Values = make([]int64, n), make([]float64, n)
			for j, p := range points[:n] {
				out.Times[j], out.Values[j] = p.Time, p.Value
			}
			size += 16 * n
			points = points[n:]
			if size >= PieceSize {
				if err := send(m); err != nil {
					return err
				}
				m, size = &wirepb.ResultPiece{}, 0
			}
			if len(points) == 0 {
				break
			}
			out = &wirepb.SeriesResult{Continued: true}
			m.Series = append(m.Series, out)
		}
	}
	return send(m)
}

// ResultReceiver puts together what SendResult has sent.
type ResultReceiver struct {
	labels LabelDecoder
	result *logql.Result
}

// Add takes a message.
func (r *ResultReceiver) Add(m *wirepb.ResultPiece) error {
	if r.result == nil {
		if m.Head == nil {
			return Malformed("a result without its head")
		}
		r.result = &logql.Result{
			Type:     logql.ResultType(m.Head.Type),
			Scalar:   logql.Point{Time: m.Head.ScalarTime, Value: m.Head.ScalarValue},
			Stats:    statsOf(m.Head.Stats),
			Warnings: ToStrings(m.Head.Warnings),
		}
	}
	res := r.result
	var err error
	if res.Streams, err = readStreams(res.Streams, m.Streams, &r.labels); err != nil {
		return err
	}
	for _, s := range m.Series {
		if len(s.Times) != len(s.Values) {
			return Malformed("%d values at %d times", len(s.Values), len(s.Times))
		}
		if !s.Continued {
			ls, err := r.labels.Decode(s.Labels)
			if err != nil {
				return err
			}
			res.Series = append(res.Series, logql.SeriesResult{Labels: ls, Points: make([]logql.Point, 0, len(s.Times))})
		}
		if len(res.Series) == 0 {
			return Malformed("the first series goes on with none")
		}
		last := &res.Series[len(res.Series)-1]
		for i, t := range s.Times {
			last.Points = append(last.Points, logql.Point{Time: t, Value: s.Values[i]})
		}
	}
	return nil
}

// Result returns the whole.
func (r *ResultReceiver) Result() (*logql.Result, error) {
	if r.result == nil {
		return nil, Malformed("no result")
	}
	return r.result, nil
}

// AskResult returns what SendResult sends.
func AskResult(ctx context.Context, kinds []Kind, open func(context.Context) (grpc.ServerStreamingClient[wirepb.ResultPiece], error)) (*logql.Result, error) {
	var r ResultReceiver
	if err := Receive(ctx, kinds, open, r.Add); err != nil {
		return nil, err
	}
	return r.Result()
}

// statNumbers are the fields of Stats in the order in which they travel. New ones come last.
func statNumbers(s logql.Stats) []int64 {
	return []int64{
		int64(s.QueueTime), int64(s.ExecTime), int64(s.Tasks), s.Streams, s.PagesTotal, s.PagesRead, s.Rows, s.RowsKept,
		s.LineBytes, s.MetadataBytes, s.HeadRows, s.HeadBytes, s.ReadBytes, s.Returned,
	}
}

// statsOf returns what statNumbers was given.
func statsOf(n []int64) logql.Stats {
	at := func(i int) int64 {
		if i < len(n) {
			return n[i]
		}
		return 0
	}
	return logql.Stats{
		QueueTime: time.Duration(at(0)), ExecTime: time.Duration(at(1)), Tasks: int(at(2)), Streams: at(3), PagesTotal: at(4),
		PagesRead: at(5), Rows: at(6), RowsKept: at(7), LineBytes: at(8), MetadataBytes: at(9), HeadRows: at(10), HeadBytes: at(11),
		ReadBytes: at(12), Returned: at(13),
	}
}
