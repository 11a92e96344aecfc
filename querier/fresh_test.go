package querier

import (
	"context"
	"errors"
	"testing"
)

// rings counts departures and refreshes.
type rings struct {
	gone      uint64
	refreshes int
	fail      error
}

func (r *rings) Departures() uint64 { return r.gone }

func (r *rings) Refresh(context.Context) error {
	r.refreshes++
	return r.fail
}

func TestFresh(t *testing.T) {
	r := &rings{}
	f := newFresh(r, struct{}{}, r)
	asked := 0
	read := func(during func()) error {
		return f.read(t.Context(), func() error {
			asked++
			during()
			return nil
		})
	}
	check := func(what string, err error, wantAsked, wantRefreshes int) {
		t.Helper()
		if err != nil || asked != wantAsked || r.refreshes != wantRefreshes {
			t.Errorf("%s: asked %d times after %d refreshes, %v; want %d and %d", what, asked, r.refreshes, err, wantAsked, wantRefreshes)
		}
		asked, r.refreshes = 0, 0
	}
	check("nobody left", read(func() {}), 1, 0)
	r.gone = 2
	check("two left", read(func() {}), 1, 1)
	check("none since", read(func() {}), 1, 0)
	check("one leaves during a read", read(func() {
		if r.gone == 2 {
			r.gone++
		}
	}), 2, 1)
	check("they leave all the time", read(func() { r.gone++ }), most+1, most)

	r.gone, r.fail = r.gone+1, errors.New("no bucket")
	if err := read(func() { t.Error("asked with an old list") }); !errors.Is(err, r.fail) {
		t.Errorf("the list cannot be had: %v", err)
	}
	asked, r.refreshes, r.fail = 0, 0, nil
	check("it can again", read(func() {}), 1, 1)

	lost := errors.New("lost")
	if err := f.read(t.Context(), func() error { return lost }); !errors.Is(err, lost) {
		t.Errorf("the read fails: %v", err)
	}
	r.refreshes = 0
	alone := newFresh(struct{}{}, r)
	check("no ring", alone.read(t.Context(), func() error { asked++; return nil }), 1, 0)
}
