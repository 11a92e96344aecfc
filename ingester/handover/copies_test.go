package handover

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"example.com/loki/ingester"
)

// flushes is an ingester that counts its flushes. All else panics.
type flushes struct {
	ingester.Service
	n   int
	err error
}

func (f *flushes) Flush(context.Context, string) error {
	f.n++
	return f.err
}

// place is one on a ring.
type place struct{}

func (place) Keep() bool   { return true }
func (place) SetKeep(bool) {}

// starts is an ingester that starts again and again with the same log.
type starts struct {
	log string
	err error // of flushes
}

// start starts with a replication factor, or 0 for an ingester that is alone, and returns how many flushes that took.
func (s *starts) start(t *testing.T, factor int) (int, error) {
	t.Helper()
	f := &flushes{err: s.err}
	h := New(Config{Log: s.log, Refresh: time.Millisecond}, f, nil)
	if factor == 0 {
		h.Resume()
		return f.n, nil
	}
	h.SetPlace(place{}, nil)
	h.Resume()
	err := h.Raise(t.Context(), factor)
	return f.n, err
}

func TestRaise(t *testing.T) {
	type step struct{ factor, flushes int }
	for _, c := range []struct {
		name  string
		lines bool // there is a log
		steps []step
	}{
		{"a new ingester", false, []step{{3, 0}}},
		{"an ingester that was alone", true, []step{{0, 0}, {3, 1}, {3, 0}}},
		{"one without copies", true, []step{{1, 0}, {3, 1}, {3, 0}}},
		{"more and more", true, []step{{2, 1}, {3, 1}, {5, 1}, {5, 0}}},
		{"fewer", true, []step{{3, 1}, {1, 0}, {2, 1}}},
		{"alone in between", true, []step{{3, 1}, {0, 0}, {3, 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &starts{log: t.TempDir()}
			if c.lines {
				if err := os.WriteFile(filepath.Join(s.log, "00000001"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for n, want := range c.steps {
				if got, err := s.start(t, want.factor); err != nil || got != want.flushes {
					t.Errorf("start %d, with factor %d: %d flushes, %v; want %d", n, want.factor, got, err, want.flushes)
				}
			}
		})
	}
}

// TestRaiseFails lets the flush fail: the next start must not believe that it has been done.
func TestRaiseFails(t *testing.T) {
	s := &starts{log: t.TempDir(), err: errors.New("no object store")}
	if err := os.WriteFile(filepath.Join(s.log, "00000001"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if n, err := s.start(t, 3); !errors.Is(err, s.err) || n != 1 {
			t.Errorf("%d flushes, %v", n, err)
		}
	}
	s.err = nil
	for n, want := range []int{1, 0} {
		if got, err := s.start(t, 3); err != nil || got != want {
			t.Errorf("start %d with an object store: %d flushes, %v", n, got, err)
		}
	}
}

// TestRaiseNowhere has no log that outlives the ingester.
func TestRaiseNowhere(t *testing.T) {
	for _, log := range []string{"", filepath.Join(t.TempDir(), "missing")} {
		if n, err := (&starts{log: log}).start(t, 3); err != nil || n != 0 {
			t.Errorf("log %q: %d flushes, %v", log, n, err)
		}
	}
}
