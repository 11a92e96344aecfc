package compactor

import (
	"context"
	"math"
	runtimemetrics "runtime/metrics"
	"time"

	"golang.org/x/time/rate"

	"example.com/loki/internal/pace"
)

const (
	// quantum is how long is worked at least before it is looked whether others wait.
	quantum = 4 * time.Millisecond

	// maxCost is how long goroutines of the process may wait for a processor, together, for a second of work:
	// beyond it, the work is in somebody's way.
	maxCost = 0.1

	// feltWait is the shortest wait that counts. Shorter ones are there on an idle machine too.
	feltWait = 100e-6

	maxPause = time.Second
)

// pacer makes background work give way. Its user calls pace after each small piece of work. Where goroutines of
// the process had to wait for a processor meanwhile, whosever they are, pauses follow, so that the work takes a
// smaller and smaller share of one processor, but never less than a floor; where none did, the share grows again.
//
// One goroutine uses it at a time.
type pacer struct {
	limiter *rate.Limiter // of bytes a second; nil: no bound
	floor   float64       // the smallest share; 1: never pause
	patient time.Duration // the floor rises for work that has been at it for longer

	now    func() time.Time
	sleep  func(ctx context.Context, d time.Duration) error
	waited func() time.Duration // of all goroutines since the start of the process

	share  float64
	began  time.Time     // the work as a whole
	since  time.Time     // when the work went on
	before time.Duration // what waited has returned last
	used   time.Duration // what the worker of the context had used then
}

func newPacer(limiter *rate.Limiter, floor float64, patient time.Duration) *pacer {
	return &pacer{limiter: limiter, floor: floor, patient: patient, now: time.Now, sleep: sleep, waited: newWaits().total, share: floor}
}

// begin is called when work begins after a time without any. It begins gently: what happens is not known yet.
func (p *pacer) begin() {
	p.began = p.now()
	p.since = p.began
	p.share = p.floor
	p.before = p.waited()
}

// lowest is the floor. It rises, up to a half, by itself with each period of patience: what always gives way would never end.
func (p *pacer) lowest() float64 {
	if p.patient <= 0 {
		return p.floor
	}
	return max(p.floor, min(0.5, p.floor*(1+float64(p.now().Sub(p.began)/p.patient))))
}

// pace is called when so many bytes have been worked on. It returns when work may go on, or when ctx is done.
func (p *pacer) pace(ctx context.Context, bytes int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	worked := p.now().Sub(p.since)
	used, ok := pace.Used(ctx)
	if ok { // time in which it has waited for a slot is no work
		if p.used > used {
			p.used = 0 // it is another worker
		}
		worked = min(worked, used-p.used)
	}
	if p.floor < 1 && worked >= quantum {
		if err := p.giveWay(ctx, worked); err != nil {
			return err
		}
		p.used = used
	}
	if p.limiter == nil {
		return nil
	}
	for bytes > 0 {
		n := min(bytes, p.limiter.Burst())
		// What is waited for here is a pause too.
		at := p.now()
		resume := pace.Idle(ctx)
		err := p.limiter.WaitN(ctx, n)
		resume()
		if err != nil {
			return err
		}
		p.since = p.since.Add(p.now().Sub(at))
		bytes -= n
	}
	return nil
}

// giveWay pauses after some work.
func (p *pacer) giveWay(ctx context.Context, worked time.Duration) error {
	if p.share < 1 {
		pause := time.Duration(float64(worked) * (1/p.share - 1))
		resume := pace.Idle(ctx)
		err := p.sleep(ctx, min(pause, maxPause))
		resume()
		if err != nil {
			return err
		}
	}
	// A wait is known when it is over, so those that the work was the cause of are known after the pause. Those
	// without it say that there are too few processors anyway.
	waited := p.waited()
	if cost := (waited - p.before).Seconds() / worked.Seconds(); cost > maxCost {
		p.share *= 0.7
	} else {
		p.share *= 1.2
	}
	p.share = max(p.lowest(), min(1, p.share))
	p.before = waited
	p.since = p.now()
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// waits reads how long goroutines have waited for a processor.
type waits struct{ sample []runtimemetrics.Sample }

func newWaits() *waits { return &waits{[]runtimemetrics.Sample{{Name: "/sched/latencies:seconds"}}} }

// total returns the sum of all waits that were long enough to be felt.
func (w *waits) total() time.Duration {
	runtimemetrics.Read(w.sample)
	if w.sample[0].Value.Kind() != runtimemetrics.KindFloat64Histogram {
		return 0 // this version of Go does not tell
	}
	h := w.sample[0].Value.Float64Histogram()
	var sum float64
	for i, n := range h.Counts {
		if from := h.Buckets[i]; n > 0 && from >= feltWait && !math.IsInf(from, 0) {
			sum += float64(n) * from
		}
	}
	return time.Duration(sum * float64(time.Second))
}
