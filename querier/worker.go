package querier

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/grafana/dskit/backoff"
	"github.com/grafana/dskit/services"
	"github.com/grafana/dskit/user"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wirepb"
	"example.com/loki/logql"
)

// WorkerConfig says how a querier works for a scheduler. The zero value is a good default.
type WorkerConfig struct {
	// Parallelism is how many tasks of one scheduler the querier works on at once. 0 means two per
	// processor, but at least 4: a task spreads over all processors by itself, more at once let short
	// ones pass long ones.
	Parallelism int

	// Name tells queriers apart in the scheduler's log. Empty means the name of the host.
	Name string

	// DrainTimeout is how long a stop waits for the tasks that run. What is not done by then is left
	// to another querier. 0 means 30s.
	DrainTimeout time.Duration
}

func (c WorkerConfig) check() (WorkerConfig, error) {
	c.Parallelism = cmp.Or(c.Parallelism, max(4, 2*runtime.GOMAXPROCS(0)))
	c.DrainTimeout = cmp.Or(c.DrainTimeout, 30*time.Second)
	if c.Name == "" {
		// Without a name the log says less, that is all.
		c.Name, _ = os.Hostname()
	}
	var errs []error
	if c.Parallelism < 0 {
		errs = append(errs, fmt.Errorf("Parallelism is %d; it can't be negative", c.Parallelism))
	}
	if c.DrainTimeout < 0 {
		errs = append(errs, fmt.Errorf("DrainTimeout is %s; it can't be negative", c.DrainTimeout))
	}
	return c, errors.Join(errs...)
}

// Runner is what a worker needs of a querier.
type Runner interface {
	Run(ctx context.Context, t *logql.Task) (*logql.Partial, error)
}

// Worker fetches tasks from a scheduler and has a querier run them. It connects while it is running, again
// and again if the scheduler goes away, and leaves when it is stopped: then it takes no new tasks and
// ends those that run. A process has one for each scheduler.
type Worker struct {
	services.Service
	cfg    WorkerConfig
	rpc    wirepb.DispatcherClient
	runner Runner
	errors []wire.Kind
	log    *slog.Logger
	warned atomic.Bool // that there is no connection
}

// warnAfter is how many sessions of a slot fail in a row until it is said: those of some seconds.
const warnAfter = 6

// NewWorker returns a worker for the scheduler behind a connection.
func NewWorker(cfg WorkerConfig, scheduler grpc.ClientConnInterface, runner Runner, logger *slog.Logger) (*Worker, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("querier worker: %w", err)
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	w := &Worker{cfg: cfg, rpc: wirepb.NewDispatcherClient(scheduler), runner: runner, errors: WireErrors(), log: logger}
	w.Service = services.NewBasicService(nil, w.running, nil)
	return w, nil
}

// running works until ctx ends. hard ends at most DrainTimeout later: all that a task does happens in it.
func (w *Worker) running(ctx context.Context) error {
	hard, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	var g errgroup.Group
	for range w.cfg.Parallelism {
		g.Go(func() error {
			w.slot(ctx, hard)
			return nil
		})
	}
	over := make(chan struct{})
	var drain errgroup.Group
	drain.Go(func() error {
		select {
		case <-ctx.Done():
		case <-over:
			return nil
		}
		timer := time.NewTimer(w.cfg.DrainTimeout)
		defer timer.Stop()
		select {
		case <-timer.C:
			w.log.Warn("querier stops before its tasks are done", "after", w.cfg.DrainTimeout)
			kill()
		case <-over:
		}
		return nil
	})
	err := g.Wait()
	close(over)
	return errors.Join(err, drain.Wait())
}

// slot fetches one task after the other until ctx ends.
func (w *Worker) slot(ctx, hard context.Context) {
	retry := backoff.New(ctx, backoff.Config{MinBackoff: 50 * time.Millisecond, MaxBackoff: 3 * time.Second})
	for ctx.Err() == nil {
		worked, err := w.session(ctx, hard)
		if ctx.Err() != nil {
			return
		}
		if worked {
			retry.Reset()
			w.warned.Store(false)
		}
		if retry.NumRetries() >= warnAfter && !w.warned.Swap(true) {
			w.log.Warn("querier has no connection to the query scheduler and gets no tasks from it; it goes on trying", "err", err)
		}
		w.log.Debug("querier is not connected to the scheduler", "err", err)
		retry.Wait()
	}
}

// session is one connection of a slot. It tells whether the scheduler has ever sent something.
func (w *Worker) session(ctx, hard context.Context) (worked bool, err error) {
	call, cancel := context.WithCancel(hard)
	defer cancel()
	stream, err := w.rpc.Work(call)
	if err != nil {
		return false, err
	}
	if err := stream.Send(&wirepb.WorkerMessage{Name: []byte(w.cfg.Name)}); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	assignments := make(chan *wirepb.Assignment)
	over := make(chan error, 1)
	go func() {
		defer close(assignments)
		for {
			a, err := stream.Recv()
			if err != nil {
				over <- err
				return
			}
			select {
			case assignments <- a:
			case <-call.Done():
				over <- call.Err()
				return
			}
		}
	}()
	// However the session ends, the stream does too, and with it the goroutine.
	defer func() {
		cancel()
		err = cmp.Or(err, <-over)
	}()
	for {
		select {
		case <-ctx.Done():
			err := stream.CloseSend()
			for err == nil { // a task that is on its way is dropped: the scheduler sees that
				if _, ok := <-assignments; !ok {
					break
				}
			}
			return worked, err
		case a, ok := <-assignments:
			if !ok {
				return worked, nil
			}
			worked = true
			if a.Task == nil {
				continue // the end of a task that is done already
			}
			if err := w.work(hard, stream, a, assignments); err != nil {
				return worked, err
			}
		}
	}
}

var errStreamOver = errors.New("the scheduler is gone")

// work runs a task and sends the answer. Meanwhile the scheduler may cancel the task.
func (w *Worker) work(hard context.Context, stream grpc.BidiStreamingClient[wirepb.WorkerMessage, wirepb.Assignment], a *wirepb.Assignment, more <-chan *wirepb.Assignment) error {
	ctx, cancel := context.WithCancel(user.InjectOrgID(hard, string(a.Tenant)))
	defer cancel()
	if a.Timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(a.Timeout))
		defer cancel()
	}
	type result struct {
		data []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		data, err := w.run(ctx, wire.DecodeTask(a.Task))
		done <- result{data, err}
	}()
	for {
		select {
		case next, ok := <-more:
			cancel()
			if !ok || next.Task != nil {
				<-done
				return errStreamOver
			}
		case r := <-done:
			if hard.Err() != nil {
				return hard.Err() // not the task's fault: somebody else shall do it
			}
			if r.err != nil {
				return stream.Send(&wirepb.WorkerMessage{Id: a.Id, Error: wire.EncodeError(r.err, w.errors)})
			}
			sent := 0
			return wire.SendBytes(r.data, &wirepb.Piece{}, func(p *wirepb.Piece) error {
				sent += len(p.Data)
				return stream.Send(&wirepb.WorkerMessage{Id: a.Id, Piece: p, Last: sent == len(r.data)})
			})
		}
	}
}

// run runs a task. A panic is the task's error: other queriers shall not die of it too.
func (w *Worker) run(ctx context.Context, t *logql.Task) (data []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			w.log.Error("panic in a task", "query", t.Params.Query, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic in a task: %v", p)
		}
	}()
	p, err := w.runner.Run(ctx, t)
	if err != nil {
		return nil, err
	}
	return p.MarshalBinary()
}
