package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// ledger is what one client knows of its entries. Entry n has a time and a line that follow from n.
type ledger struct {
	client  int
	base    int64        // time of entry 0
	acked   atomic.Int64 // entries below are acknowledged
	retries atomic.Int64 // pushes that were sent again
	longest atomic.Int64 // nanoseconds that a push took with all its repetitions
}

const (
	batch    = 20
	patience = 30 * time.Second // for a request with its repetitions
)

func (l *ledger) line(n int64) string { return fmt.Sprintf("client %d entry %d", l.client, n) }
func (l *ledger) time(n int64) int64  { return l.base + n*1000 }

// push pushes batch after batch until ctx ends. A push that fails is sent again, as every client does.
func (l *ledger) push(ctx context.Context, c *cluster) error {
	for first := int64(0); ctx.Err() == nil; first += batch {
		values := make([][2]string, batch)
		for i := range values {
			n := first + int64(i)
			values[i] = [2]string{strconv.FormatInt(l.time(n), 10), l.line(n)}
		}
		body, err := json.Marshal(map[string]any{"streams": []any{map[string]any{
			"stream": map[string]string{"job": "faults", "client": strconv.Itoa(l.client)}, "values": values}}})
		if err != nil {
			return err
		}
		began := time.Now()
		for {
			status, text := c.do(context.WithoutCancel(ctx), http.MethodPost, "/loki/api/v1/push", body)
			if status == http.StatusNoContent {
				break
			}
			if status >= 400 && status < 500 && status != http.StatusTooManyRequests {
				return fmt.Errorf("push = %d: %s", status, text)
			}
			if time.Since(began) > patience {
				return fmt.Errorf("a push fails for %s: %d %s", patience, status, text)
			}
			l.retries.Add(1)
			time.Sleep(100 * time.Millisecond) // what a client does
		}
		l.longest.Store(max(l.longest.Load(), int64(time.Since(began))))
		l.acked.Store(first + batch)
		time.Sleep(5 * time.Millisecond) // the load is steady, not the highest
	}
	return nil
}

// check asks for entries from a number on, until a request succeeds, and compares them: what was acknowledged
// before must be there, and nothing twice.
func (l *ledger) check(ctx context.Context, c *cluster, from int64) (failures int, err error) {
	end := min(l.acked.Load(), from+4000)
	params := url.Values{"query": {fmt.Sprintf(`{job="faults", client="%d"}`, l.client)}, "limit": {"5000"}, "direction": {"forward"},
		"start": {strconv.FormatInt(l.time(from), 10)}, "end": {strconv.FormatInt(l.time(end), 10)}}
	began := time.Now()
	for {
		status, text := c.do(ctx, http.MethodGet, "/loki/api/v1/query_range?"+params.Encode(), nil)
		if status != http.StatusOK {
			if failures++; time.Since(began) > patience {
				return failures, fmt.Errorf("a query fails for %s: %d %s", patience, status, text)
			}
			if ctx.Err() != nil {
				return failures, nil
			}
			time.Sleep(100 * time.Millisecond)
			continue
		}
		var res struct {
			Data struct {
				Result []struct{ Values [][2]string }
			}
		}
		if err := json.Unmarshal([]byte(text), &res); err != nil {
			return failures, err
		}
		found := map[string]int{}
		for _, s := range res.Data.Result {
			for _, v := range s.Values {
				found[v[1]]++
			}
		}
		for n := from; n < end; n++ {
			if got := found[l.line(n)]; got != 1 {
				return failures, fmt.Errorf("%s is there %d times (from %d to %d, %d lines found)", l.line(n), got, from, end, len(found))
			}
		}
		return failures, nil
	}
}

// TestKill kills one process of each kind, one after the other, while clients push and query, and starts
// it again. Everything that was acknowledged must be in each answer once.
func TestKill(t *testing.T) {
	for _, s := range shapes() {
		if s.replicas == 1 || !*full && s.name != "microservices" {
			continue
		}
		t.Run(s.name, func(t *testing.T) { testKill(t, launch(t, s.replicas, s.define)) })
	}
}

func testKill(t *testing.T, c *cluster) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var pushing, querying sync.WaitGroup
	ledgers := make([]*ledger, 3)
	var failed, asked atomic.Int64
	for i := range ledgers {
		l := &ledger{client: i, base: time.Now().Add(-time.Hour).UnixNano()}
		ledgers[i] = l
		pushing.Go(func() {
			if err := l.push(ctx, c); err != nil {
				t.Error(err)
			}
		})
	}
	querying.Go(func() {
		for ctx.Err() == nil {
			for _, l := range ledgers {
				n, err := l.check(ctx, c, max(0, l.acked.Load()-2000))
				failed.Add(int64(n))
				asked.Add(1)
				if err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	wait := func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	wait(time.Second)
	for _, k := range c.kinds {
		m := c.members[k.name][0]
		before := failed.Load()
		m.process().Kill()
		wait(2 * time.Second)
		m.launch(t)
		began := time.Now()
		m.await(t)
		t.Logf("%s killed and back after %s; %d queries had to be repeated", k.name, time.Since(began).Round(10*time.Millisecond), failed.Load()-before)
		if k.name == "ingester" {
			c.flush(t) // segments of some, heads of others
		}
		wait(time.Second)
	}
	stop()
	pushing.Wait()
	querying.Wait()
	for _, l := range ledgers {
		for from := int64(0); from < l.acked.Load(); from += 4000 {
			if _, err := l.check(t.Context(), c, from); err != nil {
				t.Error(err)
			}
		}
		t.Logf("client %d: %d entries acknowledged, %d pushes repeated, the longest took %s", l.client, l.acked.Load(), l.retries.Load(),
			time.Duration(l.longest.Load()).Round(time.Millisecond))
	}
	t.Logf("%d queries", asked.Load())
}
