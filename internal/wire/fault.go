package wire

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"example.com/loki/internal/wire/wirepb"
)

// Kind is an error that is recognised on the other side of a call: errors.Is and errors.As find there
// what they would find here. Each package with a Service lists its own once, for its client and its
// server and for those of packages whose errors include them.
type Kind struct {
	name   string
	code   codes.Code
	encode func(error) (detail []byte, ok bool)
	decode func(detail []byte) (error, error) // the error; or why the detail is none
}

// Sentinel is the kind of an error that is a value. Its name must never change.
func Sentinel(name string, code codes.Code, target error) Kind {
	return Kind{
		name: name,
		code: code,
		encode: func(err error) ([]byte, bool) {
			return nil, errors.Is(err, target)
		},
		decode: func([]byte) (error, error) { return target, nil },
	}
}

// message is what Typed needs of a generated message M.
type message[M any] interface {
	*M
	MarshalVT() ([]byte, error)
	UnmarshalVT([]byte) error
}

// Typed is the kind of an error that is a type E with fields, which travel as M. Its name must never
// change.
func Typed[E error, M any, P message[M]](name string, code codes.Code, to func(E) *M, from func(*M) E) Kind {
	return Kind{
		name: name,
		code: code,
		encode: func(err error) ([]byte, bool) {
			var e E
			if !errors.As(err, &e) {
				return nil, false
			}
			detail, err := P(to(e)).MarshalVT()
			return detail, err == nil
		},
		decode: func(detail []byte) (error, error) {
			m := new(M)
			if err := P(m).UnmarshalVT(detail); err != nil {
				return nil, err
			}
			return from(m), nil
		},
	}
}

// maxStatusText is how much of an error's text stands in the status itself. All of it is in the detail.
const maxStatusText = 1024

// ToStatus returns the error that a server answers with in place of err.
func ToStatus(err error, kinds []Kind) error {
	if err == nil {
		return nil
	}
	return MakeStatus(err, kinds).Err()
}

// MakeStatus returns the status that says what err says.
func MakeStatus(err error, kinds []Kind) *status.Status {
	fault := &wirepb.Fault{Text: []byte(err.Error())}
	code := codes.Unknown
	for _, list := range [][]Kind{kinds, common} {
		for _, k := range list {
			detail, ok := k.encode(err)
			if !ok {
				continue
			}
			if len(fault.Causes) == 0 {
				code = k.code
			}
			fault.Causes = append(fault.Causes, &wirepb.Cause{Kind: k.name, Detail: detail})
		}
	}
	if len(fault.Causes) == 0 {
		code = Code(err) // of another call that failed
	}
	text := strings.ToValidUTF8(string(fault.Text[:min(len(fault.Text), maxStatusText)]), "\uFFFD")
	st := status.New(code, text).Proto()
	if detail, err := anypb.New(fault); err == nil {
		st.Details = append(st.Details, detail)
	}
	return status.FromProto(st)
}

// EncodeError returns err as bytes, for where it travels inside of a message.
func EncodeError(err error, kinds []Kind) []byte {
	b, failed := proto.Marshal(MakeStatus(err, kinds).Proto())
	if failed != nil {
		b = nil // the texts of a status are valid: it cannot fail
	}
	return b
}

// DecodeError returns the error that EncodeError was given.
func DecodeError(b []byte, kinds []Kind) error {
	p := status.New(codes.Unknown, "").Proto()
	if err := proto.Unmarshal(b, p); err != nil {
		return Malformed("error: %v", err)
	}
	return FromProtoStatus(status.FromProto(p), kinds)
}

// Code returns the code of the failed call that err is or wraps, Unknown if it is none.
func Code(err error) codes.Code {
	var s interface{ GRPCStatus() *status.Status }
	if errors.As(err, &s) {
		if c := s.GRPCStatus().Code(); c != codes.OK {
			return c
		}
	}
	return codes.Unknown
}

// Error is a failure of a call. It is, for errors.Is and errors.As, what the other side returned.
type Error struct {
	text   string
	causes []error
	status *status.Status
}

// Error returns the text of the error on the other side, or says why it could not be asked.
func (e *Error) Error() string { return e.text }

// Unwrap returns what the error is on the other side.
func (e *Error) Unwrap() []error { return e.causes }

// GRPCStatus returns the status of the call.
func (e *Error) GRPCStatus() *status.Status { return e.status }

// FromStatus returns what a call in ctx failed with, given the error that gRPC returned.
func FromStatus(ctx context.Context, err error, kinds []Kind) error {
	if err == nil {
		return nil
	}
	st, ok := status.FromError(err)
	if !ok {
		if c := status.FromContextError(err); c.Code() != codes.Unknown {
			st, ok = c, true
		}
	}
	if !ok {
		return err // made on this side: a malformed message
	}
	if st.Code() == codes.Canceled || st.Code() == codes.DeadlineExceeded {
		if cause := ended(ctx); cause != nil {
			return cause
		}
	}
	return FromProtoStatus(st, kinds)
}

// ended returns why ctx is over, nil if it is not. Both sides have the same deadline, so that the
// other one may have noticed first: then the end is waited for.
func ended(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		<-ctx.Done()
	}
	if ctx.Err() == nil {
		return nil
	}
	cause := context.Cause(ctx)
	if errors.Is(cause, ctx.Err()) {
		return cause
	}
	return &Error{text: cause.Error(), causes: []error{cause, ctx.Err()}, status: status.FromContextError(ctx.Err())}
}

// FromProtoStatus returns the error that a status stands for.
func FromProtoStatus(st *status.Status, kinds []Kind) error {
	e := &Error{text: st.Message(), status: st}
	for _, d := range st.Proto().GetDetails() {
		var fault wirepb.Fault
		if !d.MessageIs(&fault) || fault.UnmarshalVT(d.Value) != nil {
			continue
		}
		e.text = string(fault.Text)
		for _, c := range fault.Causes {
			cause := decodeCause(c, kinds)
			if cause != nil && !includes(e.causes, cause) {
				e.causes = append(e.causes, cause)
			}
		}
		if len(e.causes) == 1 && e.causes[0].Error() == e.text {
			return e.causes[0]
		}
		return e
	}
	// Not from a Service: from gRPC itself.
	switch st.Code() {
	case codes.Canceled:
		e.causes = []error{context.Canceled}
	case codes.DeadlineExceeded:
		e.causes = []error{context.DeadlineExceeded}
	case codes.ResourceExhausted, codes.Internal: // the latter where only what is unpacked is too large
		if strings.Contains(e.text, "larger than max") {
			e.causes = []error{ErrMessageSize}
			e.text = fmt.Sprintf("%s (%s)", ErrMessageSize, e.text)
		}
	}
	return e
}

// ErrMessageSize means that a single message is larger than one side allows. Requests and answers are
// cut into pieces, so what is too large is one entry, one label set or one value.
var ErrMessageSize = errors.New("a message between two components is too large; " +
	"raise MaxReceive of the server's and of the client's gRPC configuration, or MaxSend if it is set " +
	"(server.grpc_server_max_recv_msg_size and grpc_server_max_send_msg_size of the programs)")

func decodeCause(c *wirepb.Cause, kinds []Kind) error {
	for _, list := range [][]Kind{kinds, common} {
		for _, k := range list {
			if k.name != c.Kind {
				continue
			}
			if err, bad := k.decode(c.Detail); bad == nil {
				return err
			}
		}
	}
	return nil
}

// includes tells that one of errs is err already.
func includes(errs []error, err error) bool {
	for _, e := range errs {
		if errors.Is(e, err) {
			return true
		}
	}
	return false
}
