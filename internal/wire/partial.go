package wire

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"example.com/loki/internal/wire/wirepb"
	"example.com/loki/logql"
)

// SendPartial answers a call with the partial that run returns.
func SendPartial(m *wirepb.Task, stream grpc.ServerStreamingServer[wirepb.Piece], kinds []Kind,
	run func(context.Context, *logql.Task) (*logql.Partial, error)) error {
	p, err := run(Incoming(stream.Context()), DecodeTask(m))
	if err != nil {
		return ToStatus(err, kinds)
	}
	data, err := p.MarshalBinary()
	if err != nil {
		return ToStatus(err, kinds)
	}
	return SendBytes(data, &wirepb.Piece{}, stream.Send)
}

// AskPartial returns what SendPartial sends.
func AskPartial(ctx context.Context, t *logql.Task, kinds []Kind,
	call func(context.Context, *wirepb.Task, ...grpc.CallOption) (grpc.ServerStreamingClient[wirepb.Piece], error)) (*logql.Partial, error) {
	var a Assembler
	var waited time.Duration
	err := Receive(ctx, kinds, Open(call, EncodeTask(t)), func(m *wirepb.Piece) error {
		waited += time.Duration(m.QueueTime)
		return a.Add(m)
	})
	if err != nil {
		return nil, err
	}
	return DecodePartial(&a, waited)
}

// DecodePartial returns the partial of which a has all pieces; it has waited so long in a queue.
func DecodePartial(a *Assembler, waited time.Duration) (*logql.Partial, error) {
	data, err := a.Bytes()
	if err != nil {
		return nil, err
	}
	p := new(logql.Partial)
	if err := p.UnmarshalBinary(data); err != nil {
		return nil, err
	}
	p.Stats.QueueTime += waited
	return p, nil
}
