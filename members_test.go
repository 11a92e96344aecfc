package loki_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/thanos-io/objstore"

	"example.com/loki"
	"example.com/loki/internal/route"
	"example.com/loki/ring/member"
	"example.com/loki/store"
)

// members are rings in memory: what one process says of itself all others know at once.
type members struct {
	options map[loki.Component]member.Options
	bucket  objstore.Bucket

	mu   sync.Mutex
	here map[loki.Component][]member.Instance
}

// process is one in these rings.
type process struct {
	services.Service
	all            *members
	id, addr, zone string
}

var _ loki.Membership = (*process)(nil)

func (m *process) ID() string   { return m.id }
func (m *process) Addr() string { return m.addr }
func (m *process) Routes() []route.Route {
	return []route.Route{{Methods: []string{http.MethodGet}, Path: "/memberlist", Handler: http.NotFoundHandler()}}
}

func (m *process) Ring(c loki.Component) (loki.Ring, error) {
	return &memberRing{services.NewIdleService(nil, nil), m.all, c}, nil
}

func (m *process) Join(c loki.Component, _ func(context.Context) error) (services.Service, error) {
	self := member.Instance{ID: m.id, Addr: m.addr, Zone: m.zone, State: member.Active, Tokens: member.TokensOf(m.id, 64)}
	return services.NewIdleService(
		func(context.Context) error {
			m.all.mu.Lock()
			defer m.all.mu.Unlock()
			m.all.here[c] = append(m.all.here[c], self)
			return nil
		},
		func(error) error {
			m.all.leave(c, m.id)
			return nil
		}), nil
}

// leave takes an instance out of a ring.
func (m *members) leave(c loki.Component, id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.here[c] = slices.DeleteFunc(slices.Clone(m.here[c]), func(i member.Instance) bool { return i.ID == id })
}

// memberRing is one ring.
type memberRing struct {
	services.Service
	all       *members
	component loki.Component
}

func (r *memberRing) View() member.View {
	r.all.mu.Lock()
	defer r.all.mu.Unlock()
	return member.NewSnapshot(r.all.options[r.component], r.all.here[r.component]).At(time.Now())
}

func (r *memberRing) Routes(path string) []route.Route {
	return []route.Route{{Methods: []string{http.MethodGet}, Path: path, Handler: http.NotFoundHandler()}}
}

// start runs an engine in these rings, and its server, until the test ends.
func (m *members) start(t *testing.T, name, zone string, change func(*loki.Config), targets ...loki.Component) *node {
	t.Helper()
	if m.here == nil {
		m.here = map[loki.Component][]member.Instance{}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := loki.Config{
		Dir: t.TempDir(), Bucket: m.bucket, Limits: corpusLimits(), Name: name,
		Cluster: loki.Cluster{Membership: &process{services.NewIdleService(nil, nil), m, name, l.Addr().String(), zone}},
		Store:   store.Config{RefreshInterval: 100 * time.Millisecond},
	}
	if change != nil {
		change(&cfg)
	}
	eng, err := loki.NewTopology(cfg).Component(targets...).Build()
	if err != nil {
		t.Fatal(err)
	}
	server, err := eng.NewServer(loki.GRPC{})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Engine: eng, server: server, served: make(chan error, 1)}
	go func() { n.served <- server.Serve(l) }()
	t.Cleanup(func() { n.stop(t) })
	if err := eng.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

// eventually waits for something.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(fmt.Sprint("after a minute still not: ", what))
		}
	}
}
