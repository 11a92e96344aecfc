package querier

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// fresh keeps the list of segments at least as new as the departure of any ingester: what one has stored before
// it left is known to nobody else. Ingesters that stay, or come back, answer for what they have stored of late, and
// the list is never so old that they don't any more.
type fresh struct {
	departures func() uint64               // nil: ingesters don't come and go
	refresh    func(context.Context) error // nil: the list is always up to date
	listed     func() time.Time            // when the list was last made; nil: it is always up to date
	oldest     time.Duration               // that the list may be

	mu   sync.Mutex // held during a refresh: whoever needs it too waits for it
	upTo uint64     // departures before the last refresh began
}

// ErrStale means that the object store has not told which segments there are for so long that an answer might lack rows.
// The same query succeeds once it does again.
var ErrStale = errors.New("the object store has not been listed for too long")

// newFresh keeps the list of the first of the sources that has one. Ingesters answer for segments for window.
func newFresh(window time.Duration, heads any, sources ...any) *fresh {
	f := &fresh{oldest: window - window/4} // which leaves a quarter until they have been asked
	if d, ok := heads.(interface{ Departures() uint64 }); ok {
		f.departures = d.Departures
	}
	for _, s := range sources {
		if r, ok := s.(interface{ Refresh(context.Context) error }); ok {
			f.refresh = r.Refresh
			if l, ok := s.(interface{ Listed() time.Time }); ok {
				f.listed = l.Listed
			}
			break
		}
	}
	return f
}

// most bounds how often a read begins anew because ingesters have left.
const most = 5

// read calls f once the list of segments is new enough, and again if an ingester has left before f came to ask
// them. f returns when it has asked.
func (f *fresh) read(ctx context.Context, ask func() error) error {
	for try := 0; ; try++ {
		before, err := f.ready(ctx)
		if err != nil {
			return err
		}
		if err := ask(); err != nil || f.departures == nil || try == most || f.departures() == before {
			return err
		}
	}
}

// ready makes the list new enough and returns the number of departures up to which it is.
func (f *fresh) ready(ctx context.Context) (uint64, error) {
	if f.departures == nil || f.refresh == nil {
		return 0, nil
	}
	n := f.departures()
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.old()
	if f.upTo >= n && !old {
		return n, nil
	}
	n = f.departures()
	if err := f.refresh(ctx); err != nil {
		if old {
			return n, fmt.Errorf("%w (%v), so rows might be missing: %w", ErrStale, f.oldest, err)
		}
		return n, fmt.Errorf("look for the segments of an ingester that left: %w", err)
	}
	f.upTo = n
	return n, nil
}

// old tells that ingesters may not answer any more for all that the list lacks.
func (f *fresh) old() bool { return f.listed != nil && time.Since(f.listed()) > f.oldest }
