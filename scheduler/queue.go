package scheduler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// queue gives out a number of slots. While all are taken, it keeps those who want one in a list per
// tenant and serves the tenants in turn.
type queue struct {
	closed context.Context // done when the queue closes
	cancel context.CancelFunc

	mu      sync.Mutex
	isOpen  bool
	limits  work
	bytes   int64            // of the tasks that run
	load    map[string]int64 // the same by tenant
	size    int              // slots there are
	taken   int              // slots given out; more than size only after a resize
	waiting int              // waiters in all lists
	lists   map[string]*list // only tenants with waiters
	turns   []*list          // the same lists; turns[0] is next
	idle    *sync.Cond       // taken has become 0
}

// list is the waiters of a tenant, oldest first.
type list struct {
	tenant  string
	waiters []*waiter
}

// work bounds the bytes of tasks that run at once.
type work struct{ tenant, all int64 }

type waiter struct {
	tenant string
	bytes  int64
	ready  chan struct{} // closed under queue.mu when the outcome stands
	err    error         // why there is no slot; read after ready
	done   bool          // the outcome stands; guarded by queue.mu
}

func newQueue(size int, limits work) *queue {
	q := &queue{size: size, limits: limits, load: map[string]int64{}, lists: map[string]*list{}}
	q.closed, q.cancel = context.WithCancel(context.Background())
	q.idle = sync.NewCond(&q.mu)
	return q
}

func (q *queue) open() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.isOpen = true
}

// running tells that the queue is open.
func (q *queue) running() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.isOpen
}

// close sends all waiters away with err, tells those who hold a slot through q.closed, waits until all
// slots are back and returns how many waited.
func (q *queue) close(err error) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.isOpen = false
	n := q.waiting
	for _, l := range q.turns {
		for _, w := range l.waiters {
			w.settle(err)
		}
	}
	q.turns, q.lists, q.waiting = nil, map[string]*list{}, 0
	q.cancel()
	for q.taken > 0 {
		q.idle.Wait()
	}
	return n
}

// slot is the right to run a task. It must be released once.
type slot struct {
	q      *queue
	tenant string
	bytes  int64
	waited bool // it was not free at once
}

func (s slot) release() {
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	s.q.release(s.tenant, s.bytes)
}

// resize changes how many slots there are. Those that are taken stay so until they are released.
func (q *queue) resize(by int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.size += by
	q.admit()
}

// take counts a task that begins to run. The caller holds q.mu.
func (q *queue) take(tenant string, bytes int64) {
	q.taken++
	q.bytes += bytes
	q.load[tenant] += bytes
}

// release takes a slot back and lets those run who can now. The caller holds q.mu.
func (q *queue) release(tenant string, bytes int64) {
	q.taken--
	q.bytes -= bytes
	if q.load[tenant] -= bytes; q.load[tenant] <= 0 {
		delete(q.load, tenant)
	}
	q.admit()
	if q.taken == 0 {
		q.idle.Broadcast()
	}
}

// admit gives the free slots to waiters. The caller holds q.mu.
func (q *queue) admit() {
	for q.taken < q.size {
		w := q.next()
		if w == nil {
			return
		}
		q.take(w.tenant, w.bytes)
		w.settle(nil)
	}
}

// fits tells whether a task may run beside those that do. One of a tenant, and one of all, always may,
// however large. The caller holds q.mu.
func (q *queue) fits(tenant string, bytes int64) (ofTenant, ofAll bool) {
	running := q.load[tenant]
	return running == 0 || running+bytes <= q.limits.tenant, q.bytes == 0 || q.bytes+bytes <= q.limits.all
}

// next removes and returns the waiter whose turn it is, nil if nobody waits who may run. Who has to wait for
// others of his tenant lets other tenants pass; who has to wait for all doesn't, or he might wait for ever.
func (q *queue) next() *waiter {
	for i, l := range q.turns {
		w := l.waiters[0]
		ofTenant, ofAll := q.fits(w.tenant, w.bytes)
		if !ofTenant {
			continue
		}
		if !ofAll {
			return nil
		}
		l.waiters[0] = nil
		l.waiters = l.waiters[1:]
		q.waiting--
		q.turns = slices.Delete(q.turns, i, i+1)
		if len(l.waiters) > 0 {
			q.turns = append(q.turns, l) // behind the others
		} else {
			delete(q.lists, l.tenant)
		}
		return w
	}
	return nil
}

func (w *waiter) settle(err error) {
	w.err, w.done = err, true
	close(w.ready)
}

// acquire returns a slot, or an error if ctx ends or the queue closes before there is one. Whoever has had
// a slot in vain waits in front of all others.
func (q *queue) acquire(ctx context.Context, tenant string, bytes int64, again bool) (slot, error) {
	bytes = max(0, bytes)
	begin := time.Now()
	if err := ctx.Err(); err != nil {
		return slot{}, context.Cause(ctx)
	}
	q.mu.Lock()
	if !q.isOpen {
		q.mu.Unlock()
		return slot{}, ErrStopped
	}
	l := q.lists[tenant]
	if ofTenant, ofAll := q.fits(tenant, bytes); q.taken < q.size && ofTenant && ofAll && q.waiting == 0 {
		q.take(tenant, bytes)
		q.mu.Unlock()
		return slot{q: q, tenant: tenant, bytes: bytes}, nil
	}
	w := &waiter{tenant: tenant, bytes: bytes, ready: make(chan struct{})}
	if l == nil {
		l = &list{tenant: tenant}
		q.lists[tenant] = l
		q.turns = append(q.turns, l)
	}
	l.waiters = append(l.waiters, w)
	if again {
		toFront(l.waiters)
		i := slices.Index(q.turns, l)
		toFront(q.turns[:i+1])
	}
	q.waiting++
	q.admit() // those before it may wait for others of their tenants alone
	q.mu.Unlock()

	select {
	case <-w.ready:
	case <-ctx.Done():
		q.mu.Lock()
		defer q.mu.Unlock()
		if !w.done {
			q.remove(l, w)
			q.admit() // those behind may be smaller
			return slot{}, q.late(ctx, time.Since(begin))
		}
		if w.err == nil { // the slot came at the same moment; pass it on
			q.release(tenant, bytes)
			return slot{}, context.Cause(ctx)
		}
	}
	return slot{q: q, tenant: tenant, bytes: bytes, waited: true}, w.err
}

// late says why a task's time was over before its turn came. The caller holds q.mu.
func (q *queue) late(ctx context.Context, waited time.Duration) error {
	cause := context.Cause(ctx)
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return cause
	}
	return fmt.Errorf("%w (a task of it waited %s for its turn, while %d others ran and %d more waited)",
		cause, waited.Round(time.Millisecond), q.taken, q.waiting)
}

// toFront moves the last element to the front.
func toFront[T any](list []T) {
	last := list[len(list)-1]
	copy(list[1:], list)
	list[0] = last
}

// remove takes a waiter out of its list. The caller holds q.mu.
func (q *queue) remove(l *list, w *waiter) {
	i := slices.Index(l.waiters, w)
	l.waiters = slices.Delete(l.waiters, i, i+1)
	q.waiting--
	if len(l.waiters) == 0 {
		delete(q.lists, l.tenant)
		i := slices.Index(q.turns, l)
		q.turns = slices.Delete(q.turns, i, i+1)
	}
}

// counts returns how many tasks wait and run.
func (q *queue) counts() (waiting, running int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting, q.taken
}

// work returns the bytes of the tasks that run.
func (q *queue) work() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}
