package ruler

import (
	"context"
	"encoding/json"

	"google.golang.org/grpc"

	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wirepb"
)

// RegisterServer makes s answer the calls of clients.
func RegisterServer(reg grpc.ServiceRegistrar, s Service) {
	wirepb.RegisterRulerServer(reg, &server{service: s, errors: WireErrors()})
}

type server struct {
	wirepb.UnimplementedRulerServer
	service Service
	errors  []wire.Kind
}

// Groups sends one group or those of a namespace.
func (s *server) Groups(m *wirepb.RulerRequest, stream grpc.ServerStreamingServer[wirepb.RulerPiece]) error {
	ctx := wire.Incoming(stream.Context())
	var all []Group
	var err error
	if len(m.Group) > 0 {
		all = make([]Group, 1)
		all[0], err = s.service.Group(ctx, string(m.Namespace), string(m.Group))
	} else {
		all, err = s.service.Groups(ctx, string(m.Namespace))
	}
	if err != nil {
		return wire.ToStatus(err, s.errors)
	}
	for _, g := range all {
		if err := stream.Send(&wirepb.RulerPiece{Namespace: []byte(g.Namespace), Text: FormatGroup(g)}); err != nil {
			return err
		}
	}
	return nil
}

// SetGroup sets a group.
func (s *server) SetGroup(ctx context.Context, m *wirepb.RulerRequest) (*wirepb.RulerDone, error) {
	return wire.Handle(ctx, s.errors, func(ctx context.Context) (*wirepb.RulerDone, error) {
		g, err := ParseGroup(string(m.Namespace), m.Text)
		if err != nil {
			return nil, err
		}
		return &wirepb.RulerDone{}, s.service.SetGroup(ctx, g)
	})
}

// Delete deletes a group or a namespace.
func (s *server) Delete(ctx context.Context, m *wirepb.RulerRequest) (*wirepb.RulerDone, error) {
	return wire.Handle(ctx, s.errors, func(ctx context.Context) (*wirepb.RulerDone, error) {
		if len(m.Group) > 0 {
			return &wirepb.RulerDone{}, s.service.DeleteGroup(ctx, string(m.Namespace), string(m.Group))
		}
		return &wirepb.RulerDone{}, s.service.DeleteNamespace(ctx, string(m.Namespace))
	})
}

// Status sends how groups are, one a message.
func (s *server) Status(m *wirepb.RulerRequest, stream grpc.ServerStreamingServer[wirepb.RulerPiece]) error {
	all, err := s.service.Status(wire.Incoming(stream.Context()), StatusRequest{Local: m.Local})
	if err != nil {
		return wire.ToStatus(err, s.errors)
	}
	for _, g := range all {
		text, err := json.Marshal(g)
		if err != nil {
			return wire.ToStatus(err, s.errors)
		}
		if err := stream.Send(&wirepb.RulerPiece{Namespace: []byte(g.Namespace), Text: text}); err != nil {
			return err
		}
	}
	return nil
}
