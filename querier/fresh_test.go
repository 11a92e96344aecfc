package querier

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
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
	f := newFresh(time.Hour, r, struct{}{}, r)
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
	alone := newFresh(time.Hour, struct{}{}, r)
	check("no ring", alone.read(t.Context(), func() error { asked++; return nil }), 1, 0)
}

// lister is a list of segments of some age.
type lister struct {
	rings
	listed time.Time
}

func (l *lister) Listed() time.Time { return l.listed }

func (l *lister) Refresh(ctx context.Context) error {
	err := l.rings.Refresh(ctx)
	if err == nil {
		l.listed = time.Now()
	}
	return err
}

// TestFreshList: a list that could not be made for longer than ingesters answer for what it lacks is not used.
func TestFreshList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lister{listed: time.Now()}
		f := newFresh(time.Hour, &rings{}, struct{}{}, l)
		asked := 0
		read := func() error { return f.read(t.Context(), func() error { asked++; return nil }) }
		time.Sleep(40 * time.Minute)
		l.fail = errors.New("no bucket")
		if err := read(); err != nil || asked != 1 || l.refreshes != 0 {
			t.Errorf("young enough: %v, asked %d times after %d refreshes", err, asked, l.refreshes)
		}
		time.Sleep(10 * time.Minute)
		if err := read(); !errors.Is(err, l.fail) || !errors.Is(err, ErrStale) || asked != 1 {
			t.Errorf("too old: %v, asked %d times", err, asked)
		}
		l.fail = nil
		for range 2 {
			if err := read(); err != nil {
				t.Error(err)
			}
		}
		if asked != 3 || l.refreshes != 2 {
			t.Errorf("the bucket is back: asked %d times after %d refreshes", asked, l.refreshes)
		}
	})
}
