package wire

import (
	"context"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/grpc"

	"example.com/loki/internal/alias"
	"example.com/loki/internal/wire/wirepb"
	"example.com/loki/logql"
)

// Lists of labels, values, series and volumes are the same in several services: a server answers with
// the Send functions, a client asks with the Ask functions.

// SendStrings answers a call with a list.
func SendStrings(req *wirepb.ListRequest, stream grpc.ServerStreamingServer[wirepb.Strings], kinds []Kind,
	list func(ctx context.Context, start, end int64, ms []*labels.Matcher) ([]string, error)) error {
	ctx := Incoming(stream.Context())
	ms, err := DecodeMatchers(req.Matchers)
	if err != nil {
		return ToStatus(err, kinds)
	}
	all, err := list(ctx, req.Start, req.End, ms)
	if err != nil {
		return ToStatus(err, kinds)
	}
	return pieces(all, func(s string) int { return len(s) + 3 }, func(some []string) error {
		return stream.Send(&wirepb.Strings{Values: ToBytes(some)})
	})
}

// SendValues answers a call with the values of the label that the request names.
func SendValues(req *wirepb.ListRequest, stream grpc.ServerStreamingServer[wirepb.Strings], kinds []Kind,
	list func(ctx context.Context, name string, start, end int64, ms []*labels.Matcher) ([]string, error)) error {
	return SendStrings(req, stream, kinds, func(ctx context.Context, start, end int64, ms []*labels.Matcher) ([]string, error) {
		return list(ctx, string(req.Name), start, end, ms)
	})
}

// AskStrings returns the list that SendStrings and SendValues send.
func AskStrings(ctx context.Context, req *wirepb.ListRequest, kinds []Kind,
	call func(context.Context, *wirepb.ListRequest, ...grpc.CallOption) (grpc.ServerStreamingClient[wirepb.Strings], error)) ([]string, error) {
	var all []string
	err := Receive(ctx, kinds, opened(call, req), func(m *wirepb.Strings) error {
		all = append(all, ToStrings(m.Values)...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// SendStreams answers a call with the label sets of one selector.
func SendStreams(req *wirepb.ListRequest, stream grpc.ServerStreamingServer[wirepb.LabelSets], kinds []Kind,
	list func(ctx context.Context, start, end int64, ms []*labels.Matcher) ([]labels.Labels, error)) error {
	return SendSeries(stream, kinds, func(ctx context.Context) ([]labels.Labels, error) {
		ms, err := DecodeMatchers(req.Matchers)
		if err != nil {
			return nil, err
		}
		return list(ctx, req.Start, req.End, ms)
	})
}

// SendSeries answers a call with a list of label sets, which list returns.
func SendSeries(stream grpc.ServerStreamingServer[wirepb.LabelSets], kinds []Kind, list func(context.Context) ([]labels.Labels, error)) error {
	all, err := list(Incoming(stream.Context()))
	if err != nil {
		return ToStatus(err, kinds)
	}
	sets := make([][]byte, len(all))
	for i, ls := range all {
		sets[i] = EncodeLabels(ls)
	}
	return pieces(sets, func(b []byte) int { return len(b) + 3 }, func(some [][]byte) error {
		return stream.Send(&wirepb.LabelSets{Sets: some})
	})
}

// AskSeries returns the list that SendStreams and SendSeries send.
func AskSeries(ctx context.Context, kinds []Kind, open func(context.Context) (grpc.ServerStreamingClient[wirepb.LabelSets], error)) ([]labels.Labels, error) {
	var all []labels.Labels
	var d LabelDecoder
	err := Receive(ctx, kinds, open, func(m *wirepb.LabelSets) error {
		for _, b := range m.Sets {
			ls, err := d.Decode(b)
			if err != nil {
				return err
			}
			all = append(all, ls)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// SendVolumes answers a call with a list of volumes, which list returns.
func SendVolumes(req *wirepb.ListRequest, stream grpc.ServerStreamingServer[wirepb.VolumeList], kinds []Kind,
	list func(ctx context.Context, start, end int64, ms []*labels.Matcher) ([]logql.StreamVolume, error)) error {
	ms, err := DecodeMatchers(req.Matchers)
	if err != nil {
		return ToStatus(err, kinds)
	}
	all, err := list(Incoming(stream.Context()), req.Start, req.End, ms)
	if err != nil {
		return ToStatus(err, kinds)
	}
	return pieces(EncodeVolumes(all), func(v *wirepb.Volume) int { return len(v.Labels) + 24 + 8*len(v.Streams) }, func(some []*wirepb.Volume) error {
		return stream.Send(&wirepb.VolumeList{Volumes: some})
	})
}

// AskVolumes returns the list that SendVolumes sends.
func AskVolumes(ctx context.Context, req *wirepb.ListRequest, kinds []Kind,
	call func(context.Context, *wirepb.ListRequest, ...grpc.CallOption) (grpc.ServerStreamingClient[wirepb.VolumeList], error)) ([]logql.StreamVolume, error) {
	var all []logql.StreamVolume
	var d VolumeDecoder
	err := Receive(ctx, kinds, opened(call, req), func(m *wirepb.VolumeList) (err error) {
		all, err = d.Append(all, m.Volumes)
		return err
	})
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(all, func(v logql.StreamVolume) bool { return v.Streams != nil }) {
		all = logql.AddVolumes(all)
	}
	return all, nil
}

// EncodeVolumes makes messages of volumes. None of them is larger than a piece by much.
func EncodeVolumes(all []logql.StreamVolume) []*wirepb.Volume {
	const atOnce = PieceSize / 8
	msgs := make([]*wirepb.Volume, 0, len(all))
	for _, v := range all {
		ls, writers, streams := EncodeLabels(v.Labels), ToBytes(v.Writers), v.Streams
		first := streams[:min(len(streams), atOnce)]
		msgs = append(msgs, &wirepb.Volume{Labels: ls, Entries: v.Entries, Bytes: v.Bytes, Chunks: v.Chunks, Writers: writers, Streams: first})
		for some := range slices.Chunk(streams[len(first):], atOnce) {
			msgs = append(msgs, &wirepb.Volume{Labels: ls, Writers: writers, Streams: some})
		}
	}
	return msgs
}

// VolumeDecoder makes volumes of messages. The zero value is ready for use.
type VolumeDecoder struct {
	labels  LabelDecoder
	writers writers
}

// Append appends the volumes of messages to all.
func (d *VolumeDecoder) Append(all []logql.StreamVolume, msgs []*wirepb.Volume) ([]logql.StreamVolume, error) {
	for _, v := range msgs {
		ls, err := d.labels.Decode(v.Labels)
		if err != nil {
			return nil, err
		}
		all = append(all, logql.StreamVolume{Labels: ls, Entries: v.Entries, Bytes: v.Bytes, Chunks: v.Chunks, Writers: d.writers.names(v.Writers), Streams: v.Streams})
	}
	return all, nil
}

// Open returns a function that makes a call with a request, for Receive and its like.
func Open[Req, M any](call func(context.Context, *Req, ...grpc.CallOption) (grpc.ServerStreamingClient[M], error), req *Req) func(context.Context) (grpc.ServerStreamingClient[M], error) {
	return func(ctx context.Context) (grpc.ServerStreamingClient[M], error) { return call(ctx, req) }
}

// opened is Open where the compiler must be told less.
func opened[M any](call func(context.Context, *wirepb.ListRequest, ...grpc.CallOption) (grpc.ServerStreamingClient[M], error), req *wirepb.ListRequest) func(context.Context) (grpc.ServerStreamingClient[M], error) {
	return Open(call, req)
}

// pieces calls send with consecutive parts of a list, each of about PieceSize.
func pieces[T any](all []T, size func(T) int, send func([]T) error) error {
	for len(all) > 0 {
		n, sum := 0, 0
		for n < len(all) && sum < PieceSize {
			sum += size(all[n])
			n++
		}
		if err := send(all[:n]); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

// SendBytes sends an encoded answer.
func SendBytes(data []byte, first *wirepb.Piece, send func(*wirepb.Piece) error) error {
	p := first
	p.Size = uint64(len(data))
	for {
		n := min(len(data), PieceSize)
		p.Data, data = data[:n], data[n:]
		if err := send(p); err != nil {
			return err
		}
		if len(data) == 0 {
			return nil
		}
		p = &wirepb.Piece{}
	}
}

// Assembler puts pieces together again.
type Assembler struct {
	size uint64
	data []byte
	any  bool
}

// maxTrusted is how much memory is reserved because the first piece says so.
const maxTrusted = 64 << 20

// Add adds a piece.
func (a *Assembler) Add(p *wirepb.Piece) error {
	if !a.any {
		a.any = true
		a.size = p.GetSize()
		if uint64(len(p.GetData())) == a.size {
			a.data = p.Data
			return nil
		}
		a.data = make([]byte, 0, min(a.size, maxTrusted))
	}
	if uint64(len(a.data)+len(p.GetData())) > a.size {
		return Malformed("an answer of %d bytes is longer than that", a.size)
	}
	a.data = append(a.data, p.GetData()...)
	return nil
}

// Bytes returns the whole.
func (a *Assembler) Bytes() ([]byte, error) {
	if !a.any || uint64(len(a.data)) != a.size {
		return nil, Malformed("got %d bytes of an answer of %d", len(a.data), a.size)
	}
	return a.data, nil
}

// writers makes names of messages. The same names over and over are made once.
type writers struct {
	last []string
}

func (w *writers) names(list [][]byte) []string {
	if len(list) != len(w.last) || slices.CompareFunc(list, w.last, func(b []byte, s string) int { return strings.Compare(alias.String(b), s) }) != 0 {
		w.last = ToStrings(list)
	}
	return w.last
}
