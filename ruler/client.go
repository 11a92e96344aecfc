package ruler

import (
	"context"
	"encoding/json"
	"math"

	"google.golang.org/grpc"

	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wirepb"
)

// NewClient returns the ruler behind a connection. Its errors are those of the Service; if the process cannot
// be reached they have the gRPC status Unavailable.
func NewClient(conn grpc.ClientConnInterface) Service {
	return &client{rpc: wirepb.NewRulerClient(conn), errors: WireErrors()}
}

type client struct {
	rpc    wirepb.RulerClient
	errors []wire.Kind
}

var _ Service = (*client)(nil)

func (c *client) groups(ctx context.Context, req *wirepb.RulerRequest) ([]Group, error) {
	var all []Group
	err := wire.Receive(ctx, c.errors, wire.Open(c.rpc.Groups, req), func(m *wirepb.RulerPiece) error {
		g, err := ParseGroup(string(m.Namespace), m.Text)
		if err != nil {
			return wire.Malformed("group: %v", err)
		}
		all = append(all, g)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Groups implements Service.
func (c *client) Groups(ctx context.Context, namespace string) ([]Group, error) {
	return c.groups(ctx, &wirepb.RulerRequest{Namespace: []byte(namespace)})
}

// Group implements Service.
func (c *client) Group(ctx context.Context, namespace, name string) (Group, error) {
	all, err := c.groups(ctx, &wirepb.RulerRequest{Namespace: []byte(namespace), Group: []byte(name)})
	if err != nil {
		return Group{}, err
	}
	if len(all) != 1 {
		return Group{}, wire.Malformed("%d groups instead of one", len(all))
	}
	return all[0], nil
}

// SetGroup implements Service.
func (c *client) SetGroup(ctx context.Context, g Group) error {
	_, err := wire.Call(ctx, c.errors, func(ctx context.Context) (*wirepb.RulerDone, error) {
		return c.rpc.SetGroup(ctx, &wirepb.RulerRequest{Namespace: []byte(g.Namespace), Text: FormatGroup(g)})
	})
	return err
}

// DeleteGroup implements Service.
func (c *client) DeleteGroup(ctx context.Context, namespace, name string) error {
	return c.delete(ctx, &wirepb.RulerRequest{Namespace: []byte(namespace), Group: []byte(name)})
}

// DeleteNamespace implements Service.
func (c *client) DeleteNamespace(ctx context.Context, namespace string) error {
	return c.delete(ctx, &wirepb.RulerRequest{Namespace: []byte(namespace)})
}

func (c *client) delete(ctx context.Context, req *wirepb.RulerRequest) error {
	_, err := wire.Call(ctx, c.errors, func(ctx context.Context) (*wirepb.RulerDone, error) { return c.rpc.Delete(ctx, req) })
	return err
}

// Status implements Service.
func (c *client) Status(ctx context.Context, req StatusRequest) ([]GroupStatus, error) {
	var all []GroupStatus
	err := wire.Receive(ctx, c.errors, wire.Open(c.rpc.Status, &wirepb.RulerRequest{Local: req.Local}), func(m *wirepb.RulerPiece) error {
		var g GroupStatus
		if err := json.Unmarshal(m.Text, &g); err != nil {
			return wire.Malformed("status of a group: %v", err)
		}
		all = append(all, g)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// plainAlert is an Alert as JSON, which has no infinity.
type plainAlert struct {
	alert
	Value uint64 // bits
}

type alert Alert

// MarshalJSON implements json.Marshaler, for processes of one installation.
func (a Alert) MarshalJSON() ([]byte, error) {
	return json.Marshal(plainAlert{alert: alert(a), Value: math.Float64bits(a.Value)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *Alert) UnmarshalJSON(b []byte) error {
	var p plainAlert
	if err := json.Unmarshal(b, &p); err != nil {
		return err
	}
	*a = Alert(p.alert)
	a.Value = math.Float64frombits(p.Value)
	return nil
}
