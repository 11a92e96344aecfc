package wire

import (
	"context"

	"github.com/grafana/dskit/user"
	"google.golang.org/grpc/codes"

	"example.com/loki/internal/wire/wirepb"
	"example.com/loki/logql"
	"example.com/loki/logql/syntax"
	"example.com/loki/store"
)

// common are the errors of packages that are below all services. It is read only.
var common = []Kind{
	Typed("logql.QueryError", codes.InvalidArgument,
		func(e *logql.QueryError) *wirepb.QueryErrorDetail {
			return &wirepb.QueryErrorDetail{Kind: []byte(e.Kind), Message: []byte(e.Message)}
		},
		func(m *wirepb.QueryErrorDetail) *logql.QueryError {
			return &logql.QueryError{Kind: logql.Kind(m.Kind), Message: string(m.Message)}
		}),
	Typed("syntax.ParseError", codes.InvalidArgument, parseErrorDetail, parseError),
	Sentinel("logql.ErrEncoding", codes.Internal, logql.ErrEncoding),
	Typed("store.CorruptError", codes.DataLoss,
		func(e *store.CorruptError) *wirepb.CorruptErrorDetail {
			return &wirepb.CorruptErrorDetail{Object: []byte(e.Object), Section: []byte(e.Section), Offset: e.Offset, Reason: []byte(e.Reason)}
		},
		func(m *wirepb.CorruptErrorDetail) *store.CorruptError {
			return &store.CorruptError{Object: string(m.Object), Section: string(m.Section), Offset: m.Offset, Reason: string(m.Reason)}
		}),
	Sentinel("store.ErrCorrupt", codes.DataLoss, store.ErrCorrupt),
	Sentinel("store.ErrVersion", codes.FailedPrecondition, store.ErrVersion),
	Sentinel("store.ErrUnavailable", codes.FailedPrecondition, store.ErrUnavailable), // no reason to ask another process
	Sentinel("store.ErrTenant", codes.InvalidArgument, store.ErrTenant),
	Sentinel("user.ErrNoOrgID", codes.Unauthenticated, user.ErrNoOrgID),
	Sentinel("wire.ErrMalformed", codes.InvalidArgument, ErrMalformed),
	Sentinel("wire.ErrRequestSize", codes.ResourceExhausted, ErrRequestSize),
	Sentinel("wire.ErrMessageSize", codes.ResourceExhausted, ErrMessageSize),
	Sentinel("context.Canceled", codes.Canceled, context.Canceled),
	Sentinel("context.DeadlineExceeded", codes.DeadlineExceeded, context.DeadlineExceeded),
}

func parseErrorDetail(e *syntax.ParseError) *wirepb.ParseErrorDetail {
	return &wirepb.ParseErrorDetail{
		Pos:      int64(e.Pos),
		Line:     int64(e.Line),
		Col:      int64(e.Col),
		Msg:      []byte(e.Msg),
		Expected: ToBytes(e.Expected),
		Hint:     []byte(e.Hint),
	}
}

func parseError(m *wirepb.ParseErrorDetail) *syntax.ParseError {
	return &syntax.ParseError{
		Pos:      syntax.Pos(m.Pos),
		Line:     int(m.Line),
		Col:      int(m.Col),
		Msg:      string(m.Msg),
		Expected: ToStrings(m.Expected),
		Hint:     string(m.Hint),
	}
}
