package wire_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"example.com/loki/internal/bench/yardstick"
	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wirepb"
	"example.com/loki/logql"
)

// twins is a message that can be decoded with unsafe and without.
type twins interface {
	proto.Message
	UnmarshalVTUnsafe([]byte) error
	UnmarshalVT([]byte) error
}

// FuzzUnmarshal decodes anything both ways, and demands that they agree on what is accepted and what it says.
func FuzzUnmarshal(f *testing.F) {
	f.Add(uint8(0), selectPiece(f, 10))
	f.Add(uint8(1), []byte("\x0a\x05hello"))
	f.Fuzz(func(t *testing.T, kind uint8, data []byte) {
		// Those with texts, whose unsafe code is not only slices of bytes, and the largest.
		var fast, plain twins
		switch kind % 5 {
		case 0:
			fast, plain = &wirepb.SelectPiece{}, &wirepb.SelectPiece{}
		case 1:
			fast, plain = &wirepb.PushRequest{}, &wirepb.PushRequest{}
		case 2:
			fast, plain = &wirepb.StreamResult{}, &wirepb.StreamResult{}
		case 3:
			fast, plain = &wirepb.SelectRequest{}, &wirepb.SelectRequest{}
		default:
			fast, plain = &wirepb.Fault{}, &wirepb.Fault{}
		}
		err := fast.UnmarshalVTUnsafe(data)
		if other := plain.UnmarshalVT(append([]byte(nil), data...)); (err == nil) != (other == nil) {
			t.Fatalf("%T of %x: %v with unsafe, %v without", fast, data, err, other)
		}
		if err == nil && !proto.Equal(fast, plain) {
			t.Fatalf("%T of %x: %v with unsafe, %v without", fast, data, fast, plain)
		}
	})
}

// selectPiece returns a message with rows of a batch.
func selectPiece(tb testing.TB, rows int) []byte {
	var data []byte
	sender, err := wire.NewBatchSender(&logql.SelectRequest{Start: 0, End: 1 << 60}, func(m *wirepb.SelectPiece) (err error) {
		data, err = m.MarshalVT()
		return err
	})
	if err == nil {
		err = sender.Send(tb.Context(), batch(rows))
	}
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// BenchmarkUnmarshal shows what unsafe buys: an answer's columns are not copied.
func BenchmarkUnmarshal(b *testing.B) {
	data := selectPiece(b, 2000)
	for _, c := range []struct {
		name   string
		decode func(*wirepb.SelectPiece) error
	}{
		{"unsafe", func(m *wirepb.SelectPiece) error { return m.UnmarshalVTUnsafe(data) }},
		{"copy", func(m *wirepb.SelectPiece) error { return m.UnmarshalVT(data) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			yardstick.Bytes(b, int64(len(data)))
			for b.Loop() {
				var m wirepb.SelectPiece
				if err := c.decode(&m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
