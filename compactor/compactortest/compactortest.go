// Package compactortest tests implementations of compactor.Service and stands in for one.
package compactortest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grafana/dskit/user"
	"github.com/oklog/ulid/v2"

	"example.com/loki/compactor"
)

// Contract tests a compactor.Service. newService returns one without requests whose cancel period is not
// over before an hour has passed.
func Contract(t *testing.T, newService func(t *testing.T) compactor.Service) {
	a, b := user.InjectOrgID(context.Background(), "a"), user.InjectOrgID(context.Background(), "b")
	t.Run("Delete", func(t *testing.T) {
		s := newService(t)
		r, err := s.Delete(a, `{app="x"} |= "secret"`, 5, 10)
		if err != nil {
			t.Fatal(err)
		}
		if r.ID == "" || r.Status() != "received" || r.Start != 5 || r.End != 10 || r.Created.IsZero() {
			t.Errorf("request is %+v", r)
		}
		list, err := s.Requests(a)
		if err != nil || len(list) != 1 || list[0].ID != r.ID || list[0].Query != r.Query {
			t.Errorf("list is %v, %v", list, err)
		}
		if g := s.Generation("a"); g == s.Generation("b") || g != s.Generation("a") {
			t.Errorf("generation is %q, that of another tenant %q", g, s.Generation("b"))
		}
		ps := s.Deleted("a")
		if len(ps) != 1 || ps[0].Start != 5 || ps[0].End != 10 || len(ps[0].Matchers) != 1 {
			t.Errorf("in force: %v", ps)
		}
		if list, err := s.Requests(b); err != nil || len(list) != 0 || len(s.Deleted("b")) != 0 {
			t.Errorf("another tenant has %v, %v", list, err)
		}
	})
	t.Run("Bad", func(t *testing.T) {
		s := newService(t)
		for _, bad := range []struct {
			query      string
			start, end int64
		}{{`{app="x"`, 1, 2}, {`count_over_time({app="x"}[1m])`, 1, 2}, {`{}`, 1, 2}, {`{app="x"}`, 3, 2}} {
			if _, err := s.Delete(a, bad.query, bad.start, bad.end); !errors.Is(err, compactor.ErrBadRequest) {
				t.Errorf("Delete(%s, %d, %d): %v", bad.query, bad.start, bad.end, err)
			}
		}
	})
	t.Run("Cancel", func(t *testing.T) {
		s := newService(t)
		r, err := s.Delete(a, `{app="x"}`, 1, 2)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Cancel(b, r.ID, true); !errors.Is(err, compactor.ErrNotFound) {
			t.Errorf("another tenant cancels: %v", err)
		}
		generation := s.Generation("a")
		if err := s.Cancel(a, r.ID, false); err != nil {
			t.Error(err)
		}
		if s.Generation("a") == generation {
			t.Error("the generation is as before")
		}
		if err := s.Cancel(a, r.ID, false); !errors.Is(err, compactor.ErrNotFound) {
			t.Errorf("the second time: %v", err)
		}
		if len(s.Deleted("a")) != 0 {
			t.Error("it is still in force")
		}
	})
	t.Run("NoTenant", func(t *testing.T) {
		s := newService(t)
		if _, err := s.Delete(context.Background(), `{app="x"}`, 1, 2); err == nil {
			t.Error("Delete took no tenant")
		}
		if _, err := s.Requests(context.Background()); err == nil {
			t.Error("Requests took no tenant")
		}
	})
	t.Run("Nothing", func(t *testing.T) {
		s := newService(t)
		if p, err := s.Preview(a, time.Hour); err != nil || len(p) != 0 {
			t.Errorf("Preview: %v, %v", p, err)
		}
		if d, err := s.Damaged(a); err != nil || len(d) != 0 {
			t.Errorf("Damaged: %v, %v", d, err)
		}
	})
}

// Fake is a compactor.Service that keeps requests and does nothing about them. The zero value works.
type Fake struct {
	// Planned and Damage are what Preview and Damaged return. They must not be changed while the Fake is in use.
	Planned []compactor.Planned
	Damage  []compactor.Damage

	mu   sync.Mutex
	list map[string][]fakeRequest // by tenant
}

type fakeRequest struct {
	compactor.Request
	predicate *compactor.Predicate
}

var _ compactor.Service = (*Fake)(nil)

// Deleted implements compactor.Service.
func (f *Fake) Deleted(tenant string) []*compactor.Predicate {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*compactor.Predicate
	for _, r := range f.list[tenant] {
		out = append(out, r.predicate)
	}
	return out
}

// Generation implements compactor.Service.
func (f *Fake) Generation(tenant string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	for _, r := range f.list[tenant] {
		b.WriteString(r.ID)
	}
	return b.String()
}

// Delete implements compactor.Service.
func (f *Fake) Delete(ctx context.Context, query string, start, end int64) (compactor.Request, error) {
	t, err := user.ExtractOrgID(ctx)
	if err != nil {
		return compactor.Request{}, err
	}
	p, err := compactor.NewPredicate(query, start, end)
	if err != nil {
		return compactor.Request{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.list == nil {
		f.list = make(map[string][]fakeRequest)
	}
	r := compactor.Request{ID: ulid.Make().String(), Query: query, Start: start, End: end, Created: time.Now()}
	f.list[t] = append(f.list[t], fakeRequest{r, p})
	return r, nil
}

// Requests implements compactor.Service.
func (f *Fake) Requests(ctx context.Context) ([]compactor.Request, error) {
	t, err := user.ExtractOrgID(ctx)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []compactor.Request
	for _, r := range f.list[t] {
		out = append(out, r.Request)
	}
	return out, nil
}

// Cancel implements compactor.Service.
func (f *Fake) Cancel(ctx context.Context, id string, _ bool) error {
	t, err := user.ExtractOrgID(ctx)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, r := range f.list[t] {
		if r.ID == id {
			f.list[t] = append(f.list[t][:i:i], f.list[t][i+1:]...)
			return nil
		}
	}
	return compactor.ErrNotFound
}

// Preview implements compactor.Service.
func (f *Fake) Preview(context.Context, time.Duration) ([]compactor.Planned, error) {
	return f.Planned, nil
}

// Damaged implements compactor.Service.
func (f *Fake) Damaged(context.Context) ([]compactor.Damage, error) { return f.Damage, nil }
