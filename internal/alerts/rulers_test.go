package alerts

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/loki/internal/crashtest/process"
)

// notes is an Alertmanager that notes for which evaluations it was told of alerts.
type notes struct {
	mu  sync.Mutex
	got map[string][]time.Time // by alert
}

const (
	groups      = 6
	resendDelay = 3 * time.Second
)

// ServeHTTP implements http.Handler.
func (n *notes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var all []struct {
		Labels map[string]string
		EndsAt time.Time
	}
	if err := json.NewDecoder(r.Body).Decode(&all); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range all {
		// An alert is said to hold for four resend delays from its evaluation on, so this is when that was,
		// however long the note has taken.
		name := a.Labels["alertname"]
		n.got[name] = append(n.got[name], a.EndsAt.Add(-4*resendDelay))
	}
}

func (n *notes) of(name string) []time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := slices.Clone(n.got[name])
	slices.SortFunc(all, time.Time.Compare)
	return all
}

// TestThreeRulers kills one of three rulers: its alerts go on, and each is sent once per resend delay.
func TestThreeRulers(t *testing.T) {
	am := &notes{got: map[string][]time.Time{}}
	h := httptest.NewServer(am)
	defer h.Close()
	dir := t.TempDir()
	first := freePort(t)
	var all []*process.Process
	for i := range 3 {
		gossip := first
		if i > 0 {
			gossip = freePort(t)
		}
		all = append(all, process.Launch(t, server,
			"-common.path-prefix", filepath.Join(dir, fmt.Sprint(i)), "-local.chunk-directory", filepath.Join(dir, "segments"),
			"-server.http-listen-port=0", "-server.grpc-listen-address=127.0.0.1", "-server.grpc-listen-port="+freePort(t),
			"-common.storage.ring.store=memberlist", "-replication-factor=3", "-common.storage.ring.instance-id", fmt.Sprint("monolith-", i),
			"-memberlist.bind-addr=127.0.0.1", "-memberlist.bind-port="+gossip, "-memberlist.join=127.0.0.1:"+first,
			"-common.storage.ring.heartbeat-period=1s", "-common.storage.ring.heartbeat-timeout=15s",
			"-ruler.alertmanager-url="+h.URL, "-ruler.resend-delay="+resendDelay.String(), "-ruler.evaluation-interval=1s", "-ruler.poll-interval=2s"))
	}
	for _, p := range all {
		if err := p.AwaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range all {
		await(t, "ready", func() error {
			status, text, err := process.Do(t.Context(), "GET", p.URL+"/ready", "", nil)
			if err == nil && status != http.StatusOK {
				err = errors.New(string(text))
			}
			return err
		})
	}
	await(t, "the ring of rulers", func() error {
		status, text, err := process.Do(t.Context(), "GET", all[0].URL+"/ruler/ring", "", nil)
		if err == nil && (status != http.StatusOK || strings.Count(string(text), "ACTIVE") < 3) {
			err = fmt.Errorf("%d %s", status, text)
		}
		return err
	})
	push(t, all[0].URL, "error", time.Now())
	for i := range groups {
		setRules(t, all[0].URL, fmt.Sprintf(`
name: g%d
rules:
  - alert: A%d
    expr: sum(count_over_time({app="shop"} |= "error" [30m])) > 0
`, i, i))
	}
	// told tells whether all alerts were sent for an evaluation after a time.
	told := func(after time.Time) func() error {
		return func() error {
			for i := range groups {
				times := am.of(fmt.Sprint("A", i))
				if len(times) == 0 || !times[len(times)-1].After(after) {
					return fmt.Errorf("A%d was not sent", i)
				}
			}
			return nil
		}
	}
	await(t, "all alerts", told(time.Time{}))
	await(t, "the share of each ruler", func() error {
		sum := 0
		for _, p := range all {
			n, err := evaluates(t, p.URL)
			if err != nil {
				return err
			}
			sum += n
		}
		if sum != groups {
			return fmt.Errorf("%d groups run, want %d", sum, groups)
		}
		return nil
	})
	share := 0 // kill one that has something to do
	victim := 0
	for i, p := range all {
		if n, err := evaluates(t, p.URL); err == nil && n > share {
			victim, share = i, n
		}
	}
	killed := time.Now()
	all[victim].Kill()
	await(t, "all alerts after one ruler was killed", told(killed.Add(2*resendDelay)))
	survivor := all[(victim+1)%3]
	var answer struct {
		Data struct {
			Groups []struct {
				Name  string
				Rules []struct{ State, Health string }
			}
		}
	}
	if err := get(t, survivor.URL+"/prometheus/api/v1/rules", &answer); err != nil {
		t.Fatal(err)
	}
	if len(answer.Data.Groups) != groups {
		t.Errorf("a ruler that is left knows of %d groups, want %d", len(answer.Data.Groups), groups)
	}
	for _, g := range answer.Data.Groups {
		if g.Rules[0].State != "firing" || g.Rules[0].Health != "ok" {
			t.Errorf("group %s is %+v", g.Name, g.Rules)
		}
	}
	await(t, "a few more", told(time.Now().Add(2*resendDelay)))
	for i := range groups {
		times := am.of(fmt.Sprint("A", i))
		for j := 1; j < len(times); j++ {
			// Nothing is sent for a second time before its delay is over. After the kill it takes until the others
			// know, and a bit more until they are sure.
			if apart := times[j].Sub(times[j-1]); apart < resendDelay || apart > time.Minute {
				t.Errorf("A%d was sent for evaluations %v apart, at %v", i, apart, times[j])
			}
		}
		t.Logf("A%d was sent %d times", i, len(times))
	}
	t.Logf("the one that was killed had %d of %d groups", share, groups)
}

// evaluates returns how many groups a ruler runs.
func evaluates(t *testing.T, base string) (n int, err error) {
	_, body, err := process.Do(t.Context(), "GET", base+"/metrics", "", nil)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(body)) {
		if v, ok := strings.CutPrefix(line, "loki_ruler_groups "); ok {
			_, err := fmt.Sscan(v, &n)
			return n, err
		}
	}
	return 0, errors.New("no metric loki_ruler_groups")
}
