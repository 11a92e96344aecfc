package crashtest

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/loki/internal/crashtest/process"
)

var (
	rounds = flag.Int("crash.rounds", 4, "how often the server is killed")
	seed   = flag.Uint64("crash.seed", 0, "of the random moments; 0 for another one each time")
	logs   = flag.String("logs.dir", os.Getenv("LOKI_TEST_LOGS"), "folder of log files to push and to find again")

	server string // the program; written by TestMain only
)

func TestMain(m *testing.M) {
	flag.Parse()
	if runtime.GOOS == "windows" {
		fmt.Println("skipped: there are no signals on Windows")
		return
	}
	os.Exit(process.Main(m, &server))
}

// flags of a server that takes all that the tests push.
func flags(dir string) []string {
	return []string{
		"-server.http-listen-port=0", "-common.path-prefix", dir, "-log.level=warn",
		"-distributor.ingestion-rate-limit-mb=0", "-ingester.per-stream-rate-limit=0",
		"-validation.reject-old-samples=false", "-store.max-query-length=0", "-validation.max-entries-limit=5000",
	}
}

const (
	clients   = 4
	batchSize = 25
	most      = 5000 // entries a query
)

// ledger is what one client knows of its entries. Entry n has a time and a line that follow from n, so
// a number is all there is to note.
type ledger struct {
	client int
	base   int64 // time of entry 0
	sent   int   // entries from sent on were never sent
	acked  []bool
	gone   map[int]bool // deleted: must not be seen
	unsure map[int]bool // a delete request had no answer: may be seen
}

func (l *ledger) line(n int) string {
	return fmt.Sprintf("client %d entry %d %s", l.client, n, strings.Repeat("x", n%97))
}

func (l *ledger) time(n int) int64 { return l.base + int64(n)*1000 }

func (l *ledger) stream() string { return fmt.Sprintf(`{job="crash", client="%d"}`, l.client) }

// body is a push of the entries from first to end. Half of them have structured metadata.
func (l *ledger) body(first, end int) []byte {
	values := make([]any, 0, end-first)
	for n := first; n < end; n++ {
		v := []any{strconv.FormatInt(l.time(n), 10), l.line(n)}
		if n%2 == 1 {
			v = append(v, map[string]string{"entry": strconv.Itoa(n)})
		}
		values = append(values, v)
	}
	b, err := json.Marshal(map[string]any{"streams": []any{map[string]any{
		"stream": map[string]string{"job": "crash", "client": strconv.Itoa(l.client)},
		"values": values,
	}}})
	if err != nil {
		panic(err) // texts and maps of texts
	}
	return b
}

// push pushes until the server is gone. First it repeats what an earlier server may or may not have
// got: a client that had no answer does that, and it must not double anything.
func (l *ledger) push(ctx context.Context, base string, repeat bool) {
	send := func(first, end int) bool {
		status, _, err := process.Do(ctx, http.MethodPost, base+"/loki/api/v1/push", "application/json", l.body(first, end))
		if err != nil || status != http.StatusNoContent {
			return false
		}
		for n := first; n < end; n++ {
			l.acked[n] = true
		}
		return true
	}
	for first := 0; repeat && first < l.sent; first += batchSize {
		if !l.acked[first] && !send(first, first+batchSize) {
			return
		}
	}
	for {
		first := l.sent
		l.sent += batchSize
		l.acked = append(l.acked, make([]bool, batchSize)...)
		if !send(first, l.sent) {
			return
		}
	}
}

// verify compares what the server has with the ledger: every acknowledged entry once, any other at most
// once, and nothing that was never sent.
func (l *ledger) verify(t *testing.T, base string) (found int) {
	t.Helper()
	for first := 0; first < l.sent; first += most {
		end := min(first+most, l.sent)
		params := url.Values{
			"query": {l.stream()}, "direction": {"forward"}, "limit": {strconv.Itoa(most)},
			"start": {strconv.FormatInt(l.time(first), 10)}, "end": {strconv.FormatInt(l.time(end), 10)},
		}
		status, body, err := process.Do(t.Context(), http.MethodGet, base+"/loki/api/v1/query_range?"+params.Encode(), "", nil)
		if err != nil || status != http.StatusOK {
			t.Fatalf("query = %d, %v: %.500s", status, err, body)
		}
		var res struct {
			Data struct {
				Result []struct{ Values [][2]string }
			}
		}
		if err := json.Unmarshal(body, &res); err != nil {
			t.Fatal(err)
		}
		times := make(map[int]int, end-first)
		for _, s := range res.Data.Result {
			for _, v := range s.Values {
				ns, _ := strconv.ParseInt(v[0], 10, 64) // a bad one is no entry of ours, see below
				n := int((ns - l.base) / 1000)
				if n < first || n >= end || ns != l.time(n) || v[1] != l.line(n) {
					t.Fatalf("client %d: an entry was never sent: %v", l.client, v)
				}
				times[n]++
				found++
			}
		}
		for n := first; n < end; n++ {
			if times[n] > 1 || times[n] == 0 && l.acked[n] && !l.gone[n] && !l.unsure[n] || times[n] > 0 && l.gone[n] {
				t.Fatalf("client %d: entry %d was found %d times, acknowledged: %v, deleted: %v, perhaps: %v",
					l.client, n, times[n], l.acked[n], l.gone[n], l.unsure[n])
			}
		}
	}
	return found
}

// count asks for the number of all entries, which is another way through the engine than reading them.
func count(t *testing.T, base string, start, end int64) int {
	t.Helper()
	span := (end-start)/int64(time.Second) + 2
	params := url.Values{
		"query": {fmt.Sprintf(`sum(count_over_time({job="crash"}[%ds]))`, span)},
		"time":  {strconv.FormatInt(end, 10)},
	}
	status, body, err := process.Do(t.Context(), http.MethodGet, base+"/loki/api/v1/query?"+params.Encode(), "", nil)
	if err != nil || status != http.StatusOK {
		t.Fatalf("count = %d, %v: %.500s", status, err, body)
	}
	var res struct {
		Data struct{ Result []struct{ Value [2]any } }
	}
	if err := json.Unmarshal(body, &res); err != nil {
		t.Fatal(err)
	}
	if len(res.Data.Result) == 0 {
		return 0
	}
	n, err := strconv.Atoi(fmt.Sprint(res.Data.Result[0].Value[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestKill kills the server at random moments: while clients push, while parts are cut, while it
// replays.
func TestKill(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("-crash.seed=%d", *seed)
	rnd := rand.New(rand.NewPCG(*seed, 1))
	args := flags(t.TempDir())
	base := time.Now().Add(-time.Minute).UnixNano()
	ledgers := make([]*ledger, clients)
	for i := range ledgers {
		ledgers[i] = &ledger{client: i, base: base}
	}

	for n := range *rounds {
		p := process.Launch(t, server, args...)
		if n > 0 && rnd.IntN(3) == 0 {
			pause(time.Duration(rnd.Int64N(int64(150 * time.Millisecond))))
			p.Kill() // while it starts or replays
			p = process.Launch(t, server, args...)
		}
		if err := p.AwaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, l := range ledgers {
			l.verify(t, p.URL)
		}
		round(t, p, ledgers, rnd)
	}

	p := process.Start(t, server, args...)
	last := ledgers[0].time(0)
	total := 0
	for _, l := range ledgers {
		total += l.verify(t, p.URL)
		last = max(last, l.time(l.sent))
	}
	if total == 0 {
		t.Fatal("nothing was stored")
	}
	if n := count(t, p.URL, base-1, last); n != total {
		t.Errorf("count_over_time says %d entries, reading them %d", n, total)
	}
	if status, body, err := process.Do(t.Context(), http.MethodPost, p.URL+"/flush", "", nil); err != nil || status >= 300 {
		t.Fatalf("flush = %d, %v: %s", status, err, body)
	}
	after := 0
	for _, l := range ledgers {
		after += l.verify(t, p.URL)
	}
	if n := count(t, p.URL, base-1, last); after != total || n != total {
		t.Errorf("after a flush there are %d entries by reading and %d by counting, %d before", after, n, total)
	}
	t.Logf("%d rounds, %d entries", *rounds, total)
	if code, err := p.Terminate(); err != nil || code != 0 {
		t.Errorf("exit code %d, %v:\n%s", code, err, p.Output())
	}
}

// round lets the clients push and kills the server under them.
func round(t *testing.T, p *process.Process, ledgers []*ledger, rnd *rand.Rand) {
	t.Helper()
	life := 50*time.Millisecond + time.Duration(rnd.Int64N(int64(500*time.Millisecond)))
	flushAfter := time.Duration(rnd.Int64N(int64(2 * life))) // half of the lives see a flush
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for i, l := range ledgers {
		wg.Go(func() { l.push(ctx, p.URL, i%2 == 0) })
	}
	wg.Go(func() {
		timer := time.NewTimer(flushAfter)
		defer timer.Stop()
		select {
		case <-timer.C:
			_, _, _ = process.Do(ctx, http.MethodPost, p.URL+"/flush", "", nil) // it may be killed meanwhile
		case <-ctx.Done():
		}
	})
	pause(life)
	p.Kill()
	cancel()
	wg.Wait()
}

// pause lets a random time pass; it does not wait for anything.
func pause(d time.Duration) { <-time.After(d) }
