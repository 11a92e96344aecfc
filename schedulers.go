package loki

import (
	"fmt"
	"io"

	"github.com/grafana/dskit/services"
	"google.golang.org/grpc"

	"example.com/loki/internal/wire"
	"example.com/loki/querier"
	"example.com/loki/ring/member"
	"example.com/loki/ring/resolve"
	"example.com/loki/scheduler"
)

const (
	// workersModule is what fetches tasks.
	workersModule = "querier-workers"
	// schedulersModule is the schedulers of a ring, as those who have tasks see them.
	schedulersModule = "query-schedulers"
)

// schedulers makes what stands for the schedulers of the ring.
func (e *Engine) schedulers() (services.Service, error) {
	dial := func(addr string) (scheduler.Service, io.Closer, error) {
		conn, err := e.dialAs(addr, "")
		if err != nil {
			return nil, nil, err
		}
		return scheduler.NewClient(conn), conn, nil
	}
	p := scheduler.NewPeers(e.rings[QueryScheduler], dial, e.cfg.Logger)
	e.parts.Scheduler = p
	return p, nil
}

// workers makes what fetches tasks from the schedulers of other processes: those of the ring, or of an address.
func (e *Engine) workers() (services.Service, error) {
	if e.cfg.Cluster.SchedulerRing {
		return e.workersOf(e.rings[QueryScheduler], func(string) string { return "" })
	}
	at, err := resolve.New("query-scheduler", wire.Addresses(e.cfg.Cluster.Addresses[QueryScheduler]), e.cfg.Logger)
	if err != nil {
		return nil, fmt.Errorf("loki: %w", err)
	}
	w, err := e.workersOf(at, at.Name)
	if err != nil {
		return nil, err
	}
	return both(at, w)
}

// workersOf makes what fetches tasks from schedulers. name returns what a certificate at an address must be for, empty
// if for the address.
func (e *Engine) workersOf(at member.Reader, name func(addr string) string) (services.Service, error) {
	dial := func(addr string) (grpc.ClientConnInterface, io.Closer, error) {
		conn, err := e.dialAs(addr, name(addr))
		return conn, conn, err
	}
	w, err := querier.NewWorkers(e.cfg.Worker, at, dial, e.parts.Querier, e.cfg.Logger)
	if err != nil {
		return nil, fmt.Errorf("loki: %w", err)
	}
	return w, nil
}
