package pace

import (
	"context"
	"runtime"
	"time"
)

type classKey struct{}

type classOf struct {
	pace  *Pace
	class Class
}

// Context says that work under the context that it returns is of that class: workers made with it take slots of p.
func (p *Pace) Context(ctx context.Context, c Class) context.Context {
	if p == nil {
		return ctx
	}
	return context.WithValue(ctx, classKey{}, classOf{p, c})
}

// Worker is one goroutine's claim to slots. A nil Worker always has one. Its methods are for that goroutine alone, but for
// Idle, which goroutines that it waits for may call as well.
type Worker struct {
	pace    *Pace
	class   Class
	granted chan struct{}

	// Guarded by pace.mu.
	waiting bool
	has     bool      // a slot, even if it is idle
	idle    int       // calls of Idle that have not ended
	since   time.Time // when it began to use the slot
	used    time.Duration
}

type workerKey struct{}

// NewWorker returns a worker without a slot, and a context that carries it for Yield and Idle. The worker is nil if ctx
// is of no class.
func NewWorker(ctx context.Context) (context.Context, *Worker) {
	c, ok := ctx.Value(classKey{}).(classOf)
	if !ok {
		return ctx, nil
	}
	w := &Worker{pace: c.pace, class: c.class, granted: make(chan struct{}, 1)}
	return context.WithValue(ctx, workerKey{}, w), w
}

// Take waits for a slot. It must not be called with a lock that somebody with a slot may want. The error is that of
// ctx; then it has none.
func (w *Worker) Take(ctx context.Context) error {
	if w == nil {
		return nil
	}
	// Slots don't count goroutines of others, such as the one that reads a push from its connection: let them pass.
	runtime.Gosched()
	if err := ctx.Err(); err != nil {
		return err
	}
	w.pace.mu.Lock()
	return w.wait(ctx)
}

// wait waits for a slot. pace.mu must be held; it is not when wait returns.
func (w *Worker) wait(ctx context.Context) error {
	p := w.pace
	q := &p.queues[w.class]
	if q.len() == 0 {
		// Time in which a class did not want slots is not saved up, but for what it takes to come back between two units.
		p.used[w.class] = max(p.used[w.class], p.now-credit)
	}
	w.waiting = true
	q.push(w)
	p.grant()
	if !w.waiting {
		<-w.granted
		w.began()
		p.mu.Unlock()
		return nil
	}
	p.mu.Unlock()
	select {
	case <-w.granted:
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		if w.waiting {
			w.waiting = false
			q.remove(w)
		} else {
			<-w.granted
			p.running--
			p.grant()
		}
		return ctx.Err()
	}
	p.mu.Lock()
	w.began()
	p.mu.Unlock()
	return nil
}

// began notes that the slot is used from now on. pace.mu must be held.
func (w *Worker) began() { w.has, w.since = true, time.Now() }

// Release gives the slot back, if there is one.
func (w *Worker) Release() {
	if w == nil {
		return
	}
	w.pace.mu.Lock()
	defer w.pace.mu.Unlock()
	w.release()
	w.pace.grant()
}

// release gives the slot back, and tells whether there was one. pace.mu must be held.
func (w *Worker) release() bool {
	if !w.has {
		return false
	}
	w.has = false
	if w.idle == 0 {
		w.stop()
	}
	return true
}

// stop ends the use of the slot. pace.mu must be held.
func (w *Worker) stop() {
	p := w.pace
	used := time.Since(w.since)
	w.used += used
	p.used[w.class] += used / weights[w.class]
	p.running--
}

// Used returns for how long the worker of ctx has used slots; ok is false if there is no worker.
func Used(ctx context.Context) (used time.Duration, ok bool) {
	w, _ := ctx.Value(workerKey{}).(*Worker)
	if w == nil {
		return 0, false
	}
	w.pace.mu.Lock()
	defer w.pace.mu.Unlock()
	used = w.used
	if w.has && w.idle == 0 {
		used += time.Since(w.since)
	}
	return used, true
}

// Yield lets others take the slot of the worker of ctx between two units of work and waits for the next. It must not be called with
// a lock that somebody with a slot may want. It does nothing if the worker has none.
func Yield(ctx context.Context) error {
	w, _ := ctx.Value(workerKey{}).(*Worker)
	if w == nil {
		return nil
	}
	runtime.Gosched() // as in Take
	w.pace.mu.Lock()
	if !w.release() {
		w.pace.mu.Unlock()
		return nil
	}
	return w.wait(ctx)
}

// Idle says that the worker of ctx, or else its push, waits for a disk, the network or memory until resume is called, which must
// happen once: it wants no processor. resume does not wait: for one unit there may be more workers than slots. Both may
// be called with locks.
func Idle(ctx context.Context) (resume func()) {
	w, _ := ctx.Value(workerKey{}).(*Worker)
	if w == nil {
		return idlePush(ctx)
	}
	p := w.pace
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.idle++; w.idle == 1 && w.has {
		w.stop()
		p.grant()
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if w.idle--; w.idle == 0 && w.has {
			p.running++
			w.since = time.Now()
		}
	}
}
