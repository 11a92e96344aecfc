// Package wire is what components share to speak with each other over gRPC: messages and their
// conversion from and to the types of the contracts, errors that stay the same on the other side, the
// tenant, and connections and servers with sensible bounds.
//
// A component's client.go and server.go are thin: they convert, call and map errors with what is
// here. Three rules hold for all of them:
//
//   - Large answers are sequences of messages of about PieceSize, so that flow control works and no
//     limit of a message's size is ever met. A reader that stops reading stops the writer.
//   - A call ends on both sides when its context does. A client that leaves a sequence early cancels
//     its call.
//   - What is received is a slice of memory that belongs to its receiver alone.
package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/grafana/dskit/user"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
)

// PieceSize is about how large messages get of which an answer or a large request consists, in bytes.
const PieceSize = 1 << 20

// tenantKey is the name under which the tenant travels, that of the HTTP header.
const tenantKey = "x-scope-orgid"

// Outgoing returns the context for a call: it takes the tenant along, if there is one.
func Outgoing(ctx context.Context) context.Context {
	id, err := user.ExtractOrgID(ctx)
	if err != nil {
		return ctx // the other side says what it thinks of that
	}
	return metadata.AppendToOutgoingContext(ctx, tenantKey, id)
}

// Incoming returns the context of a call that was received, with its tenant if it has one.
func Incoming(ctx context.Context) context.Context {
	ids := metadata.ValueFromIncomingContext(ctx, tenantKey)
	if len(ids) == 0 {
		return ctx
	}
	return user.InjectOrgID(ctx, ids[len(ids)-1])
}

// ErrMalformed means that a message contradicts itself: the peer is of another kind or version.
var ErrMalformed = errors.New("malformed message")

// Malformed returns an ErrMalformed that says what is wrong.
func Malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// Handle wraps what a server does for a call that has one answer.
func Handle[Resp any](ctx context.Context, kinds []Kind, do func(context.Context) (Resp, error)) (Resp, error) {
	resp, err := do(Incoming(ctx))
	if err != nil {
		var none Resp
		return none, ToStatus(err, kinds)
	}
	return resp, nil
}

// Call wraps what a client does for a call that has one answer.
func Call[Resp any](ctx context.Context, kinds []Kind, do func(context.Context) (Resp, error)) (Resp, error) {
	resp, err := do(Outgoing(ctx))
	if err != nil {
		var none Resp
		return none, FromStatus(ctx, err, kinds)
	}
	return resp, nil
}

// Receive calls open and then each for each message of the stream. The call is over when Receive
// returns. An error of each ends it.
func Receive[M any](ctx context.Context, kinds []Kind, open func(context.Context) (grpc.ServerStreamingClient[M], error), each func(*M) error) error {
	for m, err := range Messages(ctx, kinds, open) {
		if err != nil {
			return err
		}
		if err := each(m); err != nil {
			return err
		}
	}
	return nil
}

// Messages is the messages of a call as a sequence. Whoever leaves it cancels the call; then, and at its
// end, nothing of the call is left.
func Messages[M any](ctx context.Context, kinds []Kind, open func(context.Context) (grpc.ServerStreamingClient[M], error)) iter.Seq2[*M, error] {
	return func(yield func(*M, error) bool) {
		call, cancel := context.WithCancel(Outgoing(ctx))
		defer cancel()
		stream, err := open(call)
		if err != nil {
			yield(nil, FromStatus(ctx, err, kinds))
			return
		}
		drainMessages(ctx, kinds, stream, cancel, yield)
	}
}

func drainMessages[M any](ctx context.Context, kinds []Kind, stream grpc.ServerStreamingClient[M], cancel func(), yield func(*M, error) bool) {
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			return
		}
		if err != nil {
			yield(nil, FromStatus(ctx, err, kinds))
			return
		}
		if !yield(m, nil) {
			cancel()
			for err == nil { // at most what is here already
				_, err = stream.Recv()
			}
			return
		}
	}
}

// Subscribe is like Messages for calls that begin at once rather than when the sequence is read: it
// returns when the other side has sent its header, or failed. The call ends with ctx if the sequence
// is never read. The end of ctx ends the sequence without an error.
func Subscribe[M any](ctx context.Context, kinds []Kind, open func(context.Context) (grpc.ServerStreamingClient[M], error)) iter.Seq2[*M, error] {
	call, cancel := context.WithCancel(Outgoing(ctx))
	stream, err := open(call)
	if err == nil {
		_, err = stream.Header()
	}
	if err != nil {
		cancel()
		return func(yield func(*M, error) bool) {
			if ctx.Err() == nil {
				yield(nil, FromStatus(ctx, err, kinds))
			}
		}
	}
	return func(yield func(*M, error) bool) {
		defer cancel()
		drainMessages(ctx, kinds, stream, cancel, func(m *M, err error) bool {
			if err != nil && ctx.Err() != nil {
				return false
			}
			return yield(m, err)
		})
	}
}

// IsUnavailable tells that a call failed because the other side could not be reached or went away: it
// may succeed with another one.
func IsUnavailable(err error) bool { return Code(err) == codes.Unavailable }
