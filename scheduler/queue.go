package scheduler

import (
	"context"
	"slices"
	"sync"
)

// queue gives out a number of slots. While all are taken, it keeps those who want one in a list per
// tenant and serves the tenants in turn.
type queue struct {
	closed context.Context // done when the queue closes
	cancel context.CancelFunc

	mu      sync.Mutex
	isOpen  bool
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

type waiter struct {
	ready chan struct{} // closed under queue.mu when the outcome stands
	err   error         // why there is no slot; read after ready
	done  bool          // the outcome stands; guarded by queue.mu
}

func newQueue(size int) *queue {
	q := &queue{size: size, lists: map[string]*list{}}
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
	waited bool // it was not free at once
}

func (s slot) release() {
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	s.q.release()
}

// resize changes how many slots there are. Those that are taken stay so until they are released.
func (q *queue) resize(by int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.size += by
	for q.taken < q.size {
		w := q.next()
		if w == nil {
			return
		}
		q.taken++
		w.settle(nil)
	}
}

// release gives a slot to the next waiter or takes it back. The caller holds q.mu.
func (q *queue) release() {
	if q.taken <= q.size {
		if w := q.next(); w != nil {
			w.settle(nil)
			return
		}
	}
	q.taken--
	if q.taken == 0 {
		q.idle.Broadcast()
	}
}

// next removes and returns the waiter whose turn it is, nil if nobody waits.
func (q *queue) next() *waiter {
	if len(q.turns) == 0 {
		return nil
	}
	l := q.turns[0]
	w := l.waiters[0]
	l.waiters[0] = nil
	l.waiters = l.waiters[1:]
	q.waiting--
	q.turns[0] = nil
	q.turns = q.turns[1:]
	if len(l.waiters) > 0 {
		q.turns = append(q.turns, l) // behind the others
	} else {
		delete(q.lists, l.tenant)
	}
	return w
}

func (w *waiter) settle(err error) {
	w.err, w.done = err, true
	close(w.ready)
}

// acquire returns a slot, or an error if ctx ends or the queue closes before there is one. Whoever has had
// a slot in vain waits in front of all others.
func (q *queue) acquire(ctx context.Context, tenant string, again bool) (slot, error) {
	if err := ctx.Err(); err != nil {
		return slot{}, context.Cause(ctx)
	}
	q.mu.Lock()
	if !q.isOpen {
		q.mu.Unlock()
		return slot{}, ErrStopped
	}
	if q.taken < q.size { // then nobody waits
		q.taken++
		q.mu.Unlock()
		return slot{q: q}, nil
	}
	w := &waiter{ready: make(chan struct{})}
	l := q.lists[tenant]
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
	q.mu.Unlock()

	select {
	case <-w.ready:
	case <-ctx.Done():
		q.mu.Lock()
		defer q.mu.Unlock()
		if !w.done {
			q.remove(l, w)
			return slot{}, context.Cause(ctx)
		}
		if w.err == nil { // the slot came at the same moment; pass it on
			q.release()
			return slot{}, context.Cause(ctx)
		}
	}
	return slot{q: q, waited: true}, w.err
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
