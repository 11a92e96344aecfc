package compactor

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

// fakeMachine has a clock of its own. Work and pauses make others wait as long as they do in share.
type fakeMachine struct {
	now    time.Time
	waits  time.Duration
	slept  time.Duration
	worked time.Duration

	working, pausing float64 // how many goroutines wait meanwhile
}

func (m *fakeMachine) pacer(floor float64, patient time.Duration) *pacer {
	return &pacer{
		floor: floor, patient: patient,
		now:    func() time.Time { return m.now },
		waited: func() time.Duration { return m.waits },
		sleep: func(ctx context.Context, d time.Duration) error {
			m.pass(d, m.pausing)
			m.slept += d
			return ctx.Err()
		},
	}
}

func (m *fakeMachine) pass(d time.Duration, waiting float64) {
	m.now = m.now.Add(d)
	m.waits += time.Duration(float64(d) * waiting)
}

// work works for so long in small pieces and returns the share of the time that it took.
func (m *fakeMachine) work(t *testing.T, p *pacer, d time.Duration) float64 {
	t.Helper()
	m.worked, m.slept = 0, 0
	for m.worked < d {
		const piece = time.Millisecond
		m.pass(piece, m.working)
		m.worked += piece
		if err := p.pace(t.Context(), 1000); err != nil {
			t.Fatal(err)
		}
	}
	return float64(m.worked) / float64(m.worked+m.slept)
}

func TestPacer(t *testing.T) {
	m := &fakeMachine{now: time.Unix(1e9, 0)}
	p := m.pacer(0.1, time.Hour)
	p.begin()
	m.work(t, p, time.Second) // it begins gently
	if s := m.work(t, p, time.Second); s != 1 {
		t.Errorf("on an idle machine it takes %.2f of a processor, want all of it", s)
	}
	m.working = 0.5 // each second of work costs somebody half of one
	m.work(t, p, time.Second)
	if s := m.work(t, p, time.Second); s < 0.09 || s > 0.12 {
		t.Errorf("while others wait because of it, it takes %.3f of a processor, want the floor of 0.1", s)
	}
	m.working, m.pausing = 3, 3 // too few processors with it and without it
	if s := m.work(t, p, time.Second); s < 0.09 || s > 0.12 {
		t.Errorf("on a full machine it takes %.3f of a processor, want the floor of 0.1", s)
	}
	m.working, m.pausing = 0.01, 0.01 // what is there on any machine
	m.work(t, p, time.Second)
	if s := m.work(t, p, time.Second); s < 0.95 {
		t.Errorf("when the others are gone it takes %.2f of a processor, want all of it", s)
	}
}

// TestPacerPatience: what always gives way never ends, so the floor rises.
func TestPacerPatience(t *testing.T) {
	m := &fakeMachine{now: time.Unix(1e9, 0), working: 1, pausing: 1}
	p := m.pacer(0.1, 10*time.Minute)
	p.begin()
	first := m.work(t, p, 30*time.Second)
	m.work(t, p, 30*time.Minute)
	if last := m.work(t, p, 30*time.Second); first > 0.15 || last < 0.4 || last > 0.51 {
		t.Errorf("it takes %.2f of a processor at first and %.2f after a long time, want 0.1 and 0.5", first, last)
	}
	p.begin()
	if s := m.work(t, p, 30*time.Second); s > 0.15 {
		t.Errorf("the next work takes %.2f of a processor at once", s)
	}
}

// TestPacerEnds: a pause, however long, ends with the context.
func TestPacerEnds(t *testing.T) {
	m := &fakeMachine{now: time.Unix(1e9, 0), working: 1}
	p := m.pacer(0.001, 0)
	p.sleep = sleep
	p.begin()
	m.pass(time.Hour, 0)
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(5*time.Millisecond, func() { cancel(nil) })
	began := time.Now()
	if err := p.pace(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if took := time.Since(began); took > maxPause {
		t.Errorf("it took %s to end", took)
	}
}

// TestWaits: a goroutine that gets no processor is seen.
func TestWaits(t *testing.T) {
	w := newWaits()
	before := w.total()
	var stop atomic.Bool
	done := make(chan struct{})
	const spinners = 64 // more than processors, so that they wait for one another
	for range spinners {
		go func() {
			defer func() { done <- struct{}{} }()
			for n := 0; !stop.Load(); n++ { // no call, no channel: it wants a processor all the time
				_ = n
			}
		}()
	}
	deadline := time.Now().Add(30 * time.Second)
	for w.total() == before && time.Now().Before(deadline) {
		sum := 0
		for i := range 1 << 20 {
			sum += i
		}
		_ = sum
	}
	after := w.total()
	stop.Store(true)
	for range spinners {
		<-done
	}
	if after == before {
		t.Error("no wait was seen")
	}
}
