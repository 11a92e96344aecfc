package querier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/grafana/dskit/services"
	"google.golang.org/grpc"

	"example.com/loki/ring/member"
)

// schedulersEvery is how often Workers look who is there.
const schedulersEvery = time.Second

// DialScheduler returns a connection to the scheduler at an address. It must not block; the connection may be made at the
// first call. The closer is closed when it is no longer used.
type DialScheduler func(addr string) (grpc.ClientConnInterface, io.Closer, error)

// Workers fetch tasks from all schedulers that there are: it has a Worker for each, which begins soon after the scheduler is
// found and ends its tasks when it is found no more. So no scheduler waits for queriers that happen to be connected to
// others.
type Workers struct {
	services.Service
	cfg        WorkerConfig
	schedulers member.Reader
	dial       DialScheduler
	runner     Runner
	log        *slog.Logger
}

// NewWorkers returns workers for the schedulers of a ring, or of names (package resolve). logger may be nil.
func NewWorkers(cfg WorkerConfig, schedulers member.Reader, dial DialScheduler, runner Runner, logger *slog.Logger) (*Workers, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("querier worker: %w", err)
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	w := &Workers{cfg: cfg, schedulers: schedulers, dial: dial, runner: runner, log: logger}
	w.Service = services.NewBasicService(nil, w.running, nil)
	return w, nil
}

// running has a worker for each scheduler until ctx ends, and returns when all of them have.
func (w *Workers) running(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	at := map[string]context.CancelFunc{} // by address
	tick := time.NewTicker(schedulersEvery)
	defer tick.Stop()
	for {
		there := map[string]bool{}
		for _, i := range w.schedulers.View().All() {
			there[i.Addr] = true
			if at[i.Addr] != nil {
				continue
			}
			one, stop := context.WithCancel(ctx)
			at[i.Addr] = stop
			all.Go(func() {
				if err := w.workFor(one, i.Addr); err != nil {
					w.log.Error("fetching tasks from a scheduler has ended", "address", i.Addr, "err", err)
				}
			})
		}
		for addr, stop := range at {
			if !there[addr] {
				stop()
				delete(at, addr)
			}
		}
		select {
		case <-ctx.Done():
			for _, stop := range at {
				stop()
			}
			return nil
		case <-tick.C:
		}
	}
}

// workFor works for one scheduler until ctx ends, and then until the tasks that run are done.
func (w *Workers) workFor(ctx context.Context, addr string) error {
	conn, closer, err := w.dial(addr)
	if err != nil {
		return err
	}
	one, err := NewWorker(w.cfg, conn, w.runner, w.log.With("scheduler", addr))
	if err != nil {
		return errors.Join(err, closer.Close())
	}
	return errors.Join(one.running(ctx), closer.Close())
}
