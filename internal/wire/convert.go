package wire

import (
	"encoding/binary"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/internal/alias"
	"example.com/loki/internal/wire/wirepb"
	"example.com/loki/logql"
)

// ToBytes returns strings as they stand in messages, without a copy.
func ToBytes(list []string) [][]byte {
	if list == nil {
		return nil
	}
	out := make([][]byte, len(list))
	for i, s := range list {
		out[i] = alias.Bytes(s)
	}
	return out
}

// ToStrings returns copies of what ToBytes made.
func ToStrings(list [][]byte) []string {
	if list == nil {
		return nil
	}
	out := make([]string, len(list))
	for i, b := range list {
		out[i] = string(b)
	}
	return out
}

// AppendLabels appends a set of labels as it stands in messages.
func AppendLabels(dst []byte, ls labels.Labels) []byte {
	ls.Range(func(l labels.Label) {
		dst = binary.AppendUvarint(dst, uint64(len(l.Name)))
		dst = append(dst, l.Name...)
		dst = binary.AppendUvarint(dst, uint64(len(l.Value)))
		dst = append(dst, l.Value...)
	})
	return dst
}

// EncodeLabels returns a set of labels as it stands in messages.
func EncodeLabels(ls labels.Labels) []byte {
	if ls.IsEmpty() {
		return nil
	}
	return AppendLabels(make([]byte, 0, 64+16*ls.Len()), ls)
}

// LabelDecoder makes sets of labels from messages. It is for one goroutine; the zero value is ready.
type LabelDecoder struct {
	builder labels.ScratchBuilder
}

// Decode returns the set that data holds. It shares nothing with data.
func (d *LabelDecoder) Decode(data []byte) (labels.Labels, error) {
	d.builder.Reset()
	last := ""
	for first := true; len(data) > 0; first = false {
		var name, value []byte
		var ok bool
		if name, data, ok = cut(data); ok {
			value, data, ok = cut(data)
		}
		if !ok {
			return labels.EmptyLabels(), Malformed("labels end too early")
		}
		if !first && alias.String(name) <= last {
			return labels.EmptyLabels(), Malformed("labels %q and %q are out of order", last, name)
		}
		last = alias.String(name)
		d.builder.Add(last, alias.String(value))
	}
	// With the common layout of labels this copies the bytes.
	return d.builder.Labels(), nil
}

// cut takes a byte string with its length before it from the front of data.
func cut(data []byte) (b, rest []byte, ok bool) {
	n, size := binary.Uvarint(data)
	if size <= 0 || n > uint64(len(data)-size) {
		return nil, nil, false
	}
	data = data[size:]
	return data[:n:n], data[n:], true
}

// EncodeMatchers returns matchers as they stand in messages.
func EncodeMatchers(ms []*labels.Matcher) []*wirepb.Matcher {
	out := make([]*wirepb.Matcher, len(ms))
	for i, m := range ms {
		out[i] = &wirepb.Matcher{Type: uint32(m.Type), Name: alias.Bytes(m.Name), Value: alias.Bytes(m.Value)}
	}
	return out
}

// DecodeMatchers returns the matchers of a message; of an empty list nil.
func DecodeMatchers(ms []*wirepb.Matcher) ([]*labels.Matcher, error) {
	if len(ms) == 0 {
		return nil, nil
	}
	out := make([]*labels.Matcher, len(ms))
	for i, m := range ms {
		if m.Type > uint32(labels.MatchNotRegexp) {
			return nil, Malformed("matcher of type %d", m.Type)
		}
		var err error
		if out[i], err = labels.NewMatcher(labels.MatchType(m.Type), string(m.Name), string(m.Value)); err != nil {
			return nil, Malformed("%v", err)
		}
	}
	return out, nil
}

// EncodeList returns a request for a list. The parts are told from nil.
func EncodeList(name string, start, end int64, ms []*labels.Matcher, parts []string) *wirepb.ListRequest {
	return &wirepb.ListRequest{
		Start:    start,
		End:      end,
		Matchers: EncodeMatchers(ms),
		Name:     alias.Bytes(name),
		HasParts: parts != nil,
		Parts:    parts,
	}
}

// EncodeVolumeRequest returns a request for volumes. The parts, and the labels by which volumes are grouped, are told from nil.
func EncodeVolumeRequest(start, end int64, ms []*labels.Matcher, by, parts []string) *wirepb.ListRequest {
	m := EncodeList("", start, end, ms, parts)
	m.Grouped, m.By = by != nil, ToBytes(by)
	return m
}

// By returns the labels by which volumes are grouped: not nil if they are.
func By(m *wirepb.ListRequest) []string {
	if !m.Grouped {
		return nil
	}
	return append([]string{}, ToStrings(m.By)...)
}

// Parts returns the parts of a message: not nil if has is true.
func Parts(has bool, parts []string) []string {
	if !has {
		return nil
	}
	out := make([]string, len(parts))
	for i, p := range parts {
		out[i] = strings.Clone(p)
	}
	return out
}

// EncodeParams returns the message for p.
func EncodeParams(p *logql.Params) *wirepb.Params {
	return &wirepb.Params{
		Query:      alias.Bytes(p.Query),
		Start:      p.Start,
		End:        p.End,
		Step:       int64(p.Step),
		Interval:   int64(p.Interval),
		Limit:      int64(p.Limit),
		Forward:    p.Direction == logql.Forward,
		Categorize: p.Categorize,
	}
}

// DecodeParams returns what EncodeParams was given.
func DecodeParams(m *wirepb.Params) logql.Params {
	p := logql.Params{
		Query:      string(m.GetQuery()),
		Start:      m.GetStart(),
		End:        m.GetEnd(),
		Step:       time.Duration(m.GetStep()),
		Interval:   time.Duration(m.GetInterval()),
		Limit:      int(m.GetLimit()),
		Categorize: m.GetCategorize(),
	}
	if m.GetForward() {
		p.Direction = logql.Forward
	}
	return p
}

// EncodeTask returns the message for t.
func EncodeTask(t *logql.Task) *wirepb.Task {
	return &wirepb.Task{Params: EncodeParams(&t.Params), Leaf: uint32(t.Leaf), From: t.From, Through: t.Through, Bytes: t.Bytes}
}

// DecodeTask returns what EncodeTask was given.
func DecodeTask(m *wirepb.Task) *logql.Task {
	return &logql.Task{Params: DecodeParams(m.GetParams()), Leaf: int(m.GetLeaf()), From: m.GetFrom(), Through: m.GetThrough(), Bytes: m.GetBytes()}
}

// DecodeDirection returns the direction that a message names.
func DecodeDirection(forward bool) logql.Direction {
	if forward {
		return logql.Forward
	}
	return logql.Backward
}
