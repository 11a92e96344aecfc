package ring

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	dsring "github.com/grafana/dskit/ring"
	"github.com/grafana/dskit/services"

	"example.com/loki/ring/member"
)

// ReaderConfig says which ring is read, and how.
type ReaderConfig struct {
	// Name of the ring: that of the component, such as "ingester". Required.
	Name string
	// ReplicationFactor is how many instances shall have each key. 0 means 1.
	ReplicationFactor int
	// ZoneAware puts the replicas of a key in different zones.
	ZoneAware bool
}

// Ring knows the instances of one component. It is a dskit service: it follows the ring while it runs, and its
// views are never older than what this process has heard. Before it runs they are empty.
type Ring struct {
	services.Service

	m       *Membership
	name    string
	options member.Options
	latest  atomic.Pointer[member.Snapshot]
}

var _ member.Reader = (*Ring)(nil)

// Ring makes a reader of a ring.
func (m *Membership) Ring(cfg ReaderConfig) (*Ring, error) {
	if cfg.Name == "" {
		return nil, fmt.Errorf("ring: Name is empty")
	}
	if cfg.ReplicationFactor < 0 {
		return nil, fmt.Errorf("ring: ReplicationFactor %d is negative", cfg.ReplicationFactor)
	}
	r := &Ring{m: m, name: cfg.Name, options: member.Options{
		Kind:              cfg.Name,
		ReplicationFactor: cfg.ReplicationFactor,
		ZoneAware:         cfg.ZoneAware,
		HeartbeatTimeout:  m.cfg.HeartbeatTimeout,
	}}
	r.latest.Store(member.NewSnapshot(r.options, nil))
	if m.reg != nil {
		if err := m.reg.Register(newCollector(r)); err != nil {
			return nil, fmt.Errorf("ring: metrics of ring %q: %w", cfg.Name, err)
		}
	}
	r.Service = services.NewBasicService(r.starting, r.running, nil).WithName("ring of " + cfg.Name)
	return r, nil
}

// key is where the ring of a component is kept.
func key(name string) string { return "collectors/" + name }

func (r *Ring) starting(ctx context.Context) error {
	store, err := r.m.store()
	if err != nil {
		return err
	}
	v, err := store.Get(ctx, key(r.name))
	if err != nil {
		return fmt.Errorf("ring: read ring %q: %w", r.name, err)
	}
	r.follow(v)
	return nil
}

func (r *Ring) running(ctx context.Context) error {
	store, err := r.m.store()
	if err != nil {
		return err
	}
	store.WatchKey(ctx, key(r.name), func(v any) bool {
		r.follow(v)
		return true
	})
	return nil
}

// follow takes a new state of the ring.
func (r *Ring) follow(v any) {
	desc, ok := v.(*dsring.Desc)
	if !ok || desc == nil {
		return
	}
	instances := make([]member.Instance, 0, len(desc.Ingesters))
	for id, d := range desc.Ingesters {
		i := member.Instance{ID: id, Addr: d.Addr, Zone: d.Zone, Tokens: d.Tokens, Heartbeat: time.Unix(d.Timestamp, 0)}
		if d.RegisteredTimestamp > 0 {
			i.Registered = time.Unix(d.RegisteredTimestamp, 0)
		}
		switch d.State {
		case dsring.PENDING:
			i.State = member.Pending
		case dsring.JOINING:
			i.State = member.Joining
		case dsring.ACTIVE:
			i.State = member.Active
		case dsring.LEAVING:
			i.State = member.Leaving
		default: // LEFT: only gossip remembers it
			continue
		}
		instances = append(instances, i)
	}
	r.latest.Store(r.latest.Load().Next(instances))
}

// View implements member.Reader.
func (r *Ring) View() member.View { return r.latest.Load().At(time.Now()) }

// forget removes an instance from the ring.
func (r *Ring) forget(ctx context.Context, id string) error {
	store, err := r.m.store()
	if err != nil {
		return err
	}
	return store.CAS(ctx, key(r.name), func(in any) (any, bool, error) {
		desc, _ := in.(*dsring.Desc)
		if desc == nil {
			return nil, false, fmt.Errorf("no instance %q in the ring", id)
		}
		if _, ok := desc.Ingesters[id]; !ok {
			return nil, false, fmt.Errorf("no instance %q in the ring", id)
		}
		desc.RemoveIngester(id)
		return desc, true, nil
	})
}
