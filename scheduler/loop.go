package scheduler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wirepb"
	"example.com/loki/logql"
)

// ErrLost is returned by Run if one querier after the other went away while it worked on the task. The
// task may be what they die of, so it is not tried for ever.
var ErrLost = errors.New("scheduler: the queriers that worked on the task went away")

// maxLost is how many queriers a task may cost.
const maxLost = 3

// RegisterDispatcher lets queriers connect to s, which has no querier of its own, and fetch tasks: see
// querier.NewWorker.
func RegisterDispatcher(reg grpc.ServiceRegistrar, s *Scheduler) {
	wirepb.RegisterDispatcherServer(reg, &dispatcher{scheduler: s, errors: WireErrors()})
}

// A slot of the queue stands for a slot of some querier. It is there from the moment at which the querier
// connects, it is taken by a task, and it is released when the querier is idle again. Thus who has a
// slot of the queue finds an idle worker; he waits for one only while a worker that was idle leaves.

// workers are the slots of queriers that wait for a task.
type workers struct {
	mu      sync.Mutex
	idle    []*worker     // the first has waited longest, so that work spreads
	changed chan struct{} // closed when idle grows; nil if nobody waits for that
}

// worker is a slot of a querier.
type worker struct {
	name string
	jobs chan *job // capacity 1; whoever takes the worker puts one job there
}

// job is a task that a worker has been given.
type job struct {
	ctx    context.Context // ends when nobody waits for the answer
	tenant string
	task   *logql.Task
	slot   slot
	done   chan outcome // capacity 1
}

// outcome is what became of a job.
type outcome struct {
	data []byte // the encoded partial
	err  error

	// The worker has left before it began, or while it worked.
	declined, lost bool
}

func newWorkers() *workers { return &workers{} }

// put makes a worker idle.
func (w *workers) put(one *worker) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.idle = append(w.idle, one)
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

// remove tells whether a worker was idle; then it isn't any more. Otherwise somebody has taken it.
func (w *workers) remove(one *worker) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.Index(w.idle, one)
	if i < 0 {
		return false
	}
	w.idle = slices.Delete(w.idle, i, i+1)
	return true
}

// take returns an idle worker. The caller gives it a job at once.
func (w *workers) take(ctx context.Context, closed <-chan struct{}) (*worker, error) {
	for {
		w.mu.Lock()
		if len(w.idle) > 0 {
			one := w.idle[0]
			w.idle[0] = nil
			w.idle = w.idle[1:]
			w.mu.Unlock()
			return one, nil
		}
		if w.changed == nil {
			w.changed = make(chan struct{})
		}
		changed := w.changed
		w.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-closed:
			return nil, ErrStopped
		}
	}
}

// dispatch has a worker run a task and returns the encoded partial and how long the task has waited.
func (s *Scheduler) dispatch(ctx context.Context, tenant string, t *logql.Task) ([]byte, time.Duration, error) {
	// What a worker does for a caller that has left is cancelled.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	waited := time.Duration(0)
	for lost, again := 0, false; ; again = true {
		begin := time.Now()
		slot, err := s.queue.acquire(ctx, tenant, t.Bytes, again)
		if err != nil {
			return nil, 0, err
		}
		w, err := s.workers.take(ctx, s.queue.closed.Done())
		if err != nil {
			slot.release()
			return nil, 0, err
		}
		if slot.waited {
			waited += time.Since(begin)
		}
		s.metrics.wait.Observe(waited.Seconds())
		j := &job{ctx: ctx, tenant: tenant, task: t, slot: slot, done: make(chan outcome, 1)}
		w.jobs <- j
		select {
		case out := <-j.done:
			switch {
			case out.lost:
				s.metrics.lost.Inc()
				s.log.Warn("a querier left while it worked on a task", "querier", w.name, "tenant", tenant)
				if lost++; lost == maxLost {
					return nil, 0, fmt.Errorf("%w (%d of them)", ErrLost, lost)
				}
			case !out.declined:
				return out.data, waited, out.err
			}
		case <-ctx.Done():
			return nil, 0, context.Cause(ctx)
		case <-s.queue.closed.Done():
			return nil, 0, ErrStopped
		}
	}
}

// dispatcher is the side of a scheduler that queriers see.
type dispatcher struct {
	wirepb.UnimplementedDispatcherServer
	scheduler *Scheduler
	errors    []wire.Kind
}

// Work is one slot of a querier, from when it connects to when it leaves.
func (d *dispatcher) Work(stream grpc.BidiStreamingServer[wirepb.WorkerMessage, wirepb.Assignment]) error {
	s := d.scheduler
	if s.querier != nil {
		return wire.ToStatus(errors.New("scheduler: it has a querier of its own and gives no tasks to others"), d.errors)
	}
	hello, err := stream.Recv()
	if err != nil {
		return err
	}
	if hello.Id != 0 {
		return wire.ToStatus(wire.Malformed("a worker begins with task %d", hello.Id), d.errors)
	}
	w := &worker{name: string(hello.Name), jobs: make(chan *job, 1)}
	in := receive(stream)

	if !s.queue.running() {
		return wire.ToStatus(ErrStopped, d.errors)
	}
	s.queue.resize(1)
	s.metrics.workers.Inc()
	defer s.metrics.workers.Dec()
	var last *job
	for id := uint64(1); ; id++ {
		s.workers.put(w)
		if last != nil {
			last.slot.release()
		}
		j, err := d.next(stream.Context(), w, in)
		if j == nil {
			s.queue.resize(-1)
			return wire.ToStatus(err, d.errors)
		}
		var out outcome
		if err != nil {
			out.declined = true
		} else {
			out, err = d.run(stream, in, id, j)
		}
		j.done <- out
		if err != nil {
			s.queue.resize(-1)
			j.slot.release()
			if errors.Is(err, io.EOF) {
				return nil
			}
			return wire.ToStatus(err, d.errors)
		}
		last = j
	}
}

// receive returns the messages of a worker. It ends when the call does.
func receive(stream grpc.BidiStreamingServer[wirepb.WorkerMessage, wirepb.Assignment]) *inbox {
	in := &inbox{messages: make(chan *wirepb.WorkerMessage)}
	go func() {
		defer close(in.messages)
		for {
			m, err := stream.Recv()
			if err != nil {
				in.err = err
				return
			}
			select {
			case in.messages <- m:
			case <-stream.Context().Done():
				in.err = stream.Context().Err()
				return
			}
		}
	}()
	return in
}

// inbox is what a worker sends.
type inbox struct {
	messages chan *wirepb.WorkerMessage
	err      error // why there are no more, once messages is closed
}

// reason returns why there are no more messages, nil if the last receive was ok.
func (in *inbox) reason(ok bool) error {
	if ok {
		return nil
	}
	return in.err
}

// next waits for a job, until ctx, that of the call, is done: then the worker has left, or this process is about to
// stop. It returns an error if the worker must not get one, and a job too if it was given one in the same moment.
func (d *dispatcher) next(ctx context.Context, w *worker, in *inbox) (*job, error) {
	var err error
	select {
	case j := <-w.jobs:
		return j, nil
	case _, ok := <-in.messages:
		if err = in.reason(ok); err == nil {
			err = wire.Malformed("an answer without a task")
		}
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-d.scheduler.queue.closed.Done():
		err = ErrStopped
	}
	if d.scheduler.workers.remove(w) {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return nil, err
	}
	return <-w.jobs, err
}

// run has the worker do a job. An error means that the worker gets no more.
func (d *dispatcher) run(stream grpc.BidiStreamingServer[wirepb.WorkerMessage, wirepb.Assignment], in *inbox, id uint64, j *job) (outcome, error) {
	if j.ctx.Err() != nil {
		return outcome{err: context.Cause(j.ctx)}, nil
	}
	a := &wirepb.Assignment{Id: id, Tenant: []byte(j.tenant), Task: wire.EncodeTask(j.task)}
	if deadline, ok := j.ctx.Deadline(); ok {
		a.Timeout = int64(max(time.Until(deadline), 1))
	}
	if err := stream.Send(a); err != nil {
		return outcome{lost: true}, err
	}
	var answer wire.Assembler
	left := j.ctx.Done()
	for {
		select {
		case <-left:
			left = nil
			if err := stream.Send(&wirepb.Assignment{Id: id}); err != nil {
				return outcome{lost: true}, err
			}
		case <-stream.Context().Done():
			return outcome{lost: true}, context.Cause(stream.Context())
		case <-d.scheduler.queue.closed.Done():
			return outcome{err: ErrStopped}, ErrStopped
		case m, ok := <-in.messages:
			switch err := in.reason(ok); {
			case errors.Is(err, io.EOF): // it had closed its side before the task came
				return outcome{declined: true}, err
			case err != nil:
				return outcome{lost: true}, err
			case m.Id != id:
				return outcome{lost: true}, wire.Malformed("an answer to task %d in place of %d", m.Id, id)
			case m.Error != nil:
				return outcome{err: wire.DecodeError(m.Error, d.errors)}, nil
			}
			if err := answer.Add(m.Piece); err != nil {
				return outcome{lost: true}, err
			}
			if m.Last {
				data, err := answer.Bytes()
				return outcome{data: data, lost: err != nil}, err
			}
		}
	}
}
