package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// ledger is what one client knows of its entries. Entry n has a time and a line that follow from n.
type ledger struct {
	client  int
	base    int64        // time of entry 0
	acked   atomic.Int64 // entries below are acknowledged
	pushed  atomic.Int64 // entries below may have been pushed
	retries atomic.Int64 // pushes that were sent again
	longest atomic.Int64 // nanoseconds that a push took with all its repetitions
	tails   atomic.Int64 // connections of the tail
	refused atomic.Value // what the last push that failed was answered: a string
}

const (
	batch    = 10
	spacing  = time.Millisecond // between the times of entries
	patience = 30 * time.Second // for a request with its repetitions
	attempt  = 20 * time.Second // for one of these
)

func (l *ledger) line(n int64) string { return fmt.Sprintf("client %d entry %d", l.client, n) }
func (l *ledger) time(n int64) int64  { return l.base + n*int64(spacing) }
func (l *ledger) selector() string    { return fmt.Sprintf(`{job="faults", client="%d"}`, l.client) }

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
		l.pushed.Store(first + batch)
		began := time.Now()
		for {
			once, cancel := context.WithTimeout(context.WithoutCancel(ctx), attempt)
			status, text := c.do(once, http.MethodPost, "/loki/api/v1/push", body)
			cancel()
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
			l.refused.Store(fmt.Sprintf("%d %.200s", status, text))
			pause(ctx, 100*time.Millisecond) // what a client does
		}
		l.longest.Store(max(l.longest.Load(), int64(time.Since(began))))
		l.acked.Store(first + batch)
		pause(ctx, 10*time.Millisecond) // the load is steady, not the highest
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// failure is a query that was not answered.
type failure struct {
	status int
	text   string
}

func (f *failure) Error() string { return fmt.Sprintf("%d %s", f.status, strings.TrimSpace(f.text)) }

// ask sends a query, once.
func ask(ctx context.Context, c *cluster, path string, params url.Values, into any) error {
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	status, text := c.do(ctx, http.MethodGet, path+"?"+params.Encode(), nil)
	if status != http.StatusOK {
		return &failure{status, text}
	}
	var res struct{ Data any }
	res.Data = into
	return json.Unmarshal([]byte(text), &res)
}

// window is the most entries that a query asks for.
const window = 4000

// check asks for the entries from a number up to another one: what is acknowledged must be there, and nothing twice.
func (l *ledger) check(ctx context.Context, c *cluster, from, to int64) error {
	var res struct {
		Result []struct{ Values [][2]string }
	}
	err := ask(ctx, c, "/loki/api/v1/query_range", url.Values{"query": {l.selector()}, "limit": {"5000"}, "direction": {"forward"},
		"start": {strconv.FormatInt(l.time(from), 10)}, "end": {strconv.FormatInt(l.time(to), 10)}}, &res)
	if err != nil {
		return err
	}
	found := map[string]int{}
	for _, s := range res.Result {
		for _, v := range s.Values {
			found[v[1]]++
		}
	}
	for n := from; n < to; n++ {
		if got := found[l.line(n)]; got != 1 {
			return fmt.Errorf("%s is there %d times (from %d to %d, %d lines found)", l.line(n), got, from, to, len(found))
		}
	}
	return nil
}

// count counts entries with a metric query, which must be exact though replicas overlap.
func (l *ledger) count(ctx context.Context, c *cluster, from, to int64) error {
	var res struct{ Result []struct{ Value [2]any } }
	err := ask(ctx, c, "/loki/api/v1/query", url.Values{
		"query": {fmt.Sprintf("sum(count_over_time(%s[%dms]))", l.selector(), to-from)}, "time": {strconv.FormatInt(l.time(to-1), 10)}}, &res)
	if err != nil {
		return err
	}
	if len(res.Result) != 1 || res.Result[0].Value[1] != strconv.FormatInt(to-from, 10) {
		return fmt.Errorf("client %d: count of entries %d to %d is %v, should be %d", l.client, from, to, res.Result, to-from)
	}
	return nil
}

// load is clients that push, query and tail.
type load struct {
	c       *cluster
	ledgers []*ledger
	stop    context.CancelFunc
	pushing sync.WaitGroup
	asking  sync.WaitGroup
	tailing sync.WaitGroup
	endTail context.CancelFunc

	asked atomic.Int64 // queries

	mu      sync.Mutex
	allowed func(*failure) bool // nil: no query may fail
	failed  int                 // queries that could not be answered, and that was allowed
	said    []string            // what they said, each once
}

// allow says which queries may fail from now on.
func (l *load) allow(f func(*failure) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.allowed = f
}

// judge reports what is wrong with an answer.
func (l *load) judge(ctx context.Context, t *testing.T, err error) {
	l.asked.Add(1)
	if err == nil || ctx.Err() != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if f, ok := err.(*failure); ok && l.allowed != nil && l.allowed(f) {
		if l.failed++; len(l.said) < 5 && !slices.Contains(l.said, f.Error()) {
			l.said = append(l.said, f.Error())
		}
		return
	}
	t.Errorf("query: %v", err)
}

// underLoad starts clients.
func underLoad(t *testing.T, c *cluster, clients int) *load {
	t.Helper()
	c.settlePushes(t)
	l := &load{c: c}
	var ctx, tailCtx context.Context
	ctx, l.stop = context.WithCancel(t.Context())
	tailCtx, l.endTail = context.WithCancel(t.Context())
	t.Cleanup(func() {
		l.stop()
		l.endTail()
		l.pushing.Wait()
		l.asking.Wait()
		l.tailing.Wait()
	})
	for i := range clients {
		one := &ledger{client: i, base: time.Now().UnixNano()}
		l.ledgers = append(l.ledgers, one)
		l.pushing.Go(func() {
			if err := one.push(ctx, c); err != nil {
				t.Error(err)
			}
		})
		l.tailing.Go(func() {
			if err := one.tail(tailCtx, c); err != nil {
				t.Error(err)
			}
		})
	}
	l.asking.Go(func() {
		for ctx.Err() == nil {
			for _, one := range l.ledgers {
				acked := one.acked.Load()
				l.judge(ctx, t, one.check(ctx, c, max(0, acked-window/2), acked))
				if acked > 0 {
					l.judge(ctx, t, one.count(ctx, c, 0, acked))
				}
			}
			pause(ctx, 50*time.Millisecond)
		}
	})
	l.wait(t, time.Second)
	return l
}

// wait lets the load go on for a time.
func (l *load) wait(t *testing.T, d time.Duration) { pause(t.Context(), d) }

// finish ends the load and looks at each entry once more.
func (l *load) finish(t *testing.T) {
	t.Helper()
	l.stop()
	l.pushing.Wait()
	l.c.quiet.Store(true)
	l.asking.Wait()
	l.allow(nil)
	for _, one := range l.ledgers {
		acked := one.acked.Load()
		for from := int64(0); from < acked; from += window {
			l.judge(t.Context(), t, one.check(t.Context(), l.c, from, min(acked, from+window)))
		}
		l.judge(t.Context(), t, one.count(t.Context(), l.c, 0, acked))
		t.Logf("client %d: %d entries acknowledged, %d pushes repeated (%v), the longest took %s; %d connections of its tail", one.client, acked,
			one.retries.Load(), one.refused.Load(), time.Duration(one.longest.Load()).Round(time.Millisecond), one.tails.Load())
		if acked == 0 {
			t.Errorf("client %d has got nothing acknowledged: the test shows nothing", one.client)
		}
	}
	l.tailing.Wait() // they end when they have seen everything
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Logf("%d queries, %d of them not answered %q; %d requests went to another process", l.asked.Load(), l.failed, l.said, l.c.passed.Load())
}

// follower is a client that tails a ledger: it must see each acknowledged entry, and on one connection none twice.
type follower struct {
	*ledger
	seen []int64 // by entry: the connection that it came on last, 0 for none
	next int64   // all before were seen
	conn int64   // number of the connection
}

// tail follows the client's entries over as many connections as it takes, until all are acknowledged and seen. A
// new connection begins where the last one has left off.
func (l *ledger) tail(ctx context.Context, c *cluster) error {
	f := &follower{ledger: l}
	for ctx.Err() == nil {
		done, err := f.follow(ctx, c)
		if done || err != nil {
			return err
		}
		pause(ctx, 100*time.Millisecond)
	}
	return nil
}

// behind is how long a tail may be silent about an entry that is acknowledged.
const behind = 20 * time.Second

func (f *follower) follow(ctx context.Context, c *cluster) (done bool, err error) {
	m := c.pick("/tail")
	base := m.base()
	if base == nil {
		return false, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	params := url.Values{"query": {f.selector()}, "start": {strconv.FormatInt(f.time(f.next), 10)}, "limit": {"5000"}}
	dial, stop := context.WithTimeout(ctx, attempt)
	conn, resp, err := websocket.Dial(dial, "ws://"+base.Host+"/loki/api/v1/tail?"+params.Encode(), nil)
	stop()
	if resp != nil && resp.Body != nil {
		_ = resp.Body.Close()
	}
	if err != nil {
		return false, nil // the next one, like every client
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(64 << 20)
	f.conn++
	f.tails.Store(f.conn)
	frames := make(chan []byte)
	go func() {
		defer close(frames)
		for {
			_, b, err := conn.Read(ctx)
			if err != nil {
				return
			}
			select {
			case frames <- b:
			case <-ctx.Done():
				return
			}
		}
	}()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	due, since := f.acked.Load(), time.Now() // entries below were acknowledged then
	for {
		select {
		case b, ok := <-frames:
			if !ok {
				return false, nil
			}
			if err := f.take(b); err != nil {
				return false, err
			}
		case <-tick.C:
		case <-ctx.Done():
			return false, nil
		}
		if f.next >= due {
			due, since = f.acked.Load(), time.Now()
		} else if time.Since(since) > behind {
			return false, fmt.Errorf("tail of client %d on connection %d (%s): entry %d, acknowledged %s ago, has not come; %d entries are acknowledged",
				f.client, f.conn, m.name, f.next, behind, f.acked.Load())
		}
		if n := f.acked.Load(); n == f.pushed.Load() && f.next >= n && c.quiet.Load() {
			return true, nil
		}
	}
}

// take notes the entries of a frame.
func (f *follower) take(frame []byte) error {
	var res struct {
		Streams []struct{ Values [][]any } `json:"streams"`
		Dropped []any                      `json:"dropped_entries"`
	}
	if err := json.Unmarshal(frame, &res); err != nil {
		return fmt.Errorf("tail of client %d: %w: %.200s", f.client, err, frame)
	}
	if len(res.Dropped) > 0 {
		return fmt.Errorf("tail of client %d has dropped entries: %.200s", f.client, frame)
	}
	for _, s := range res.Streams {
		for _, v := range s.Values {
			var client int
			var n int64
			if _, err := fmt.Sscanf(fmt.Sprint(v[1]), "client %d entry %d", &client, &n); err != nil || client != f.client || n >= f.pushed.Load() {
				return fmt.Errorf("tail of client %d: strange entry %v", f.client, v)
			}
			for int64(len(f.seen)) <= n {
				f.seen = append(f.seen, 0)
			}
			if f.seen[n] == f.conn {
				return fmt.Errorf("tail of client %d: entry %d came twice on connection %d", f.client, n, f.conn)
			}
			f.seen[n] = f.conn
		}
	}
	for f.next < int64(len(f.seen)) && f.seen[f.next] != 0 {
		f.next++
	}
	return nil
}
