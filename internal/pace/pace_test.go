package pace

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// busy starts workers that take slots for units of the given length until the test's time is over, and
// returns how many units each of them has done.
func busy(t *testing.T, p *Pace, unit, total time.Duration, kinds ...Class) []int {
	t.Helper()
	done := make([]int, len(kinds))
	ctx, cancel := context.WithTimeout(t.Context(), total)
	defer cancel()
	var wg sync.WaitGroup
	for i, c := range kinds {
		wg.Go(func() {
			ctx, w := NewWorker(p.Context(ctx, c))
			defer w.Release()
			for err := w.Take(ctx); err == nil; err = Yield(ctx) {
				time.Sleep(unit)
				done[i]++
				if ctx.Err() != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	if p.running != 0 || p.queues[Flush].len()+p.queues[Query].len()+p.queues[Merge].len() != 0 {
		t.Errorf("%d workers run, queues %v after the end", p.running, p.queues)
	}
	return done
}

func TestSharesFollowWeights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := busy(t, New(1), time.Millisecond, 21*time.Second, Merge, Query, Flush, Query)
		want := []int{1000, 2000, 16000, 2000}
		for i := range want {
			if n[i] < want[i]-want[i]/20 || n[i] > want[i]+want[i]/20 {
				t.Errorf("units %v, want about %v", n, want)
			}
		}
	})
}

func TestNothingIsSavedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(1)
		busy(t, p, time.Millisecond, time.Minute, Merge)
		busy(t, p, time.Millisecond, time.Minute, Query)
		// The merge has run as long as the query; neither has to make up for it.
		n := busy(t, p, time.Millisecond, time.Second, Merge, Query)
		if n[0] < 190 || n[0] > 210 {
			t.Errorf("units %v, want about 200 and 800", n)
		}
	})
}

func TestPushesTakeSlots(t *testing.T) {
	for _, c := range []struct{ procs, pushes, slots int }{
		{1, 0, 1}, {1, 5, 1}, {2, 0, 2}, {2, 1, 1}, {2, 2, 1}, {8, 1, 7}, {8, 3, 5}, {8, 4, 4}, {8, 100, 4},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := New(c.procs)
			var ends []func()
			for range c.pushes {
				ctx, end := p.Push(t.Context())
				_, again := p.Push(ctx)
				ends = append(ends, end, again)
			}
			kinds := make([]Class, 20)
			if n := busy(t, p, time.Second, time.Second/2, kinds...); sum(n) != c.slots {
				t.Errorf("%d processors, %d pushes: %d units, want %d", c.procs, c.pushes, sum(n), c.slots)
			}
			for _, end := range ends {
				end()
			}
			if n := busy(t, p, time.Second, time.Second/2, kinds...); sum(n) != c.procs {
				t.Errorf("%d processors after the pushes: %d units", c.procs, sum(n))
			}
		})
	}
}

func sum(ns []int) (total int) {
	for _, n := range ns {
		total += n
	}
	return total
}

// TestEndOfPush holds that the end of a push lets a worker run at once.
func TestEndOfPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(2)
		_, end := p.Push(t.Context())
		ctx, a := NewWorker(p.Context(t.Context(), Query))
		_, b := NewWorker(p.Context(t.Context(), Query))
		if err := a.Take(ctx); err != nil {
			t.Fatal(err)
		}
		took := make(chan struct{})
		go func() {
			if err := b.Take(ctx); err != nil {
				t.Error(err)
			}
			close(took)
		}()
		synctest.Wait()
		select {
		case <-took:
			t.Fatal("two workers beside a push on two processors")
		default:
		}
		end()
		<-took
		a.Release()
		b.Release()
	})
}

// TestIdle holds that who waits for a disk leaves its slot to others, and goes on without waiting for one.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(1)
		actx, a := NewWorker(p.Context(t.Context(), Query))
		bctx, b := NewWorker(p.Context(t.Context(), Query))
		if err := a.Take(actx); err != nil {
			t.Fatal(err)
		}
		first, second := Idle(actx), Idle(actx) // as by two goroutines
		if err := b.Take(bctx); err != nil {
			t.Fatal(err)
		}
		first()
		if p.running != 1 {
			t.Errorf("%d run while one is idle", p.running)
		}
		second()
		if p.running != 2 {
			t.Errorf("%d run, want two for one unit", p.running)
		}
		a.Release()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := a.Take(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Take with a context that is over: %v", err)
		}
		if err := Yield(bctx); err != nil {
			t.Error(err)
		}
		b.Release()
		b.Release()
		if err := Yield(bctx); err != nil || p.running != 0 {
			t.Errorf("Yield without a slot: %v, %d run", err, p.running)
		}

		pushing, end := p.Push(t.Context())
		resume := Idle(pushing)
		if p.pushes != 0 {
			t.Error("a push that waits counts")
		}
		again := Idle(pushing)
		resume()
		if p.pushes != 0 {
			t.Error("a push counts of which a part still waits")
		}
		again()
		if p.pushes != 1 {
			t.Errorf("%d pushes, one has waited and goes on", p.pushes)
		}
		late := Idle(pushing)
		_, local := p.Push(pushing) // a copy in this process
		if p.pushes != 1 {
			t.Errorf("%d pushes, the copy in this process counts", p.pushes)
		}
		local()
		end()
		late() // a copy that nobody waits for any more
		Idle(pushing)()
		end()
		if p.pushes != 0 {
			t.Errorf("%d pushes after the end", p.pushes)
		}
	})
}

// TestCancelledWaits takes slots with contexts that end at the moment in which the slot comes free.
func TestCancelledWaits(t *testing.T) {
	p := New(2)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				ctx, cancel := context.WithCancel(t.Context())
				_, w := NewWorker(p.Context(ctx, Query))
				go cancel()
				if w.Take(ctx) == nil {
					runtime.Gosched()
				}
				w.Release()
			}
		})
	}
	wg.Wait()
	if p.running != 0 || p.queues[Query].len() != 0 {
		t.Errorf("%d run, %d wait", p.running, p.queues[Query].len())
	}
}

func TestNil(t *testing.T) {
	var p *Pace
	ctx, end := p.Push(t.Context())
	ctx, w := NewWorker(p.Context(ctx, Merge))
	if w != nil || w.Take(ctx) != nil || Yield(ctx) != nil {
		t.Error("a nil Pace makes workers wait")
	}
	Idle(ctx)()
	w.Release()
	end()
}

// BenchmarkUnit is what a unit costs with a slot.
func BenchmarkUnit(b *testing.B) {
	ctx, w := NewWorker(New(2).Context(b.Context(), Query))
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Take(ctx); err != nil {
			b.Fatal(err)
		}
		w.Release()
	}
}
