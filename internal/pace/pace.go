// Package pace shares the processors of one engine between pushes, which somebody waits for and which are short, and
// work that takes what it can get: queries, the writing of segments and their merging.
//
// Such work is done in units of about a millisecond. A worker takes a slot for each unit, and there are as many slots as
// processors, less one for each push under way; but never fewer than half of them, so that pushes which never cease slow
// the others and don't stop them. So a push waits for about a unit, and not for its turn among all goroutines that want
// a processor, which is ten milliseconds for each of them.
//
// Slots are given out by class. While several classes want slots each gets time in proportion to its weight, and what one
// leaves the others share; within a class the first come is the first served.
//
// A Pace holds no goroutine. A nil Pace, and a context without one, let everything run at once.
package pace

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// Class is a kind of work.
type Class uint8

const (
	// Flush writes what ingesters hold to the store. Pushes wait for it when memory is short.
	Flush Class = iota
	// Query answers queries.
	Query
	// Merge rewrites what is stored. Nobody waits for it.
	Merge
	classes
)

// weights are the shares of classes that all want more than there is.
var weights = [classes]time.Duration{Flush: 16, Query: 4, Merge: 1}

// credit is how far a class that wants slots again may be behind the others, by weight.
const credit = 5 * time.Millisecond

// Pace knows what is under way. It may be used by several goroutines.
type Pace struct {
	procs int

	mu      sync.Mutex
	pushes  int                    // under way
	running int                    // workers that have a slot
	queues  [classes]queue         // workers that wait for one
	used    [classes]time.Duration // of slots, by weight: the class with the least is next
	now     time.Duration          // the least of used among the classes that have wanted slots last
}

// New returns a Pace for so many processors; 0 means runtime.GOMAXPROCS.
func New(procs int) *Pace {
	if procs <= 0 {
		procs = runtime.GOMAXPROCS(0)
	}
	return &Pace{procs: procs}
}

type pushKey struct{}

// push is a push under way.
type push struct {
	pace *Pace

	// Guarded by pace.mu.
	idle  int // calls of Idle that have not ended
	ended bool
}

// Push notes that a push is under way until done is called. The context that it returns says so; with such a context,
// nothing is counted twice. What goes on under it after done, or while the push is idle, counts for itself.
func (p *Pace) Push(ctx context.Context) (_ context.Context, done func()) {
	if p == nil {
		return ctx, func() {}
	}
	outer, _ := ctx.Value(pushKey{}).(*push)
	p.mu.Lock()
	if outer != nil && outer.pace == p && outer.idle == 0 && !outer.ended {
		p.mu.Unlock()
		return ctx, func() {}
	}
	x := &push{pace: p}
	p.pushes++
	p.mu.Unlock()
	return context.WithValue(ctx, pushKey{}, x), func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if !x.ended && x.idle == 0 {
			p.pushes--
			p.grant()
		}
		x.ended = true
	}
}

// idlePush is Idle for the push of ctx, if there is one.
func idlePush(ctx context.Context) (resume func()) {
	x, _ := ctx.Value(pushKey{}).(*push)
	if x == nil {
		return func() {}
	}
	p := x.pace
	p.mu.Lock()
	defer p.mu.Unlock()
	if x.idle++; x.idle == 1 && !x.ended {
		p.pushes--
		p.grant()
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if x.idle--; x.idle == 0 && !x.ended {
			p.pushes++
		}
	}
}

// slots is how many workers may run now. p.mu must be held.
func (p *Pace) slots() int { return max(p.procs-p.pushes, (p.procs+1)/2) }

// grant gives free slots to who waits. p.mu must be held.
func (p *Pace) grant() {
	for p.running < p.slots() {
		next := classes
		for c := range classes {
			if p.queues[c].len() > 0 && (next == classes || p.used[c] < p.used[next]) {
				next = c
			}
		}
		if next == classes {
			return
		}
		p.now = max(p.now, p.used[next])
		w := p.queues[next].pop()
		p.running++
		w.waiting = false
		w.granted <- struct{}{}
	}
}

// queue is a list of workers, first come first served.
type queue struct {
	ws   []*Worker
	head int
}

func (q *queue) len() int { return len(q.ws) - q.head }

func (q *queue) push(w *Worker) {
	if q.head > 32 && q.head > len(q.ws)/2 {
		n := copy(q.ws, q.ws[q.head:])
		clear(q.ws[n:])
		q.ws, q.head = q.ws[:n], 0
	}
	q.ws = append(q.ws, w)
}

func (q *queue) pop() *Worker {
	w := q.ws[q.head]
	q.ws[q.head] = nil
	q.head++
	return w
}

// remove takes out a worker that no longer waits.
func (q *queue) remove(w *Worker) {
	for i := q.head; i < len(q.ws); i++ {
		if q.ws[i] == w {
			copy(q.ws[i:], q.ws[i+1:])
			q.ws[len(q.ws)-1] = nil
			q.ws = q.ws[:len(q.ws)-1]
			return
		}
	}
}
