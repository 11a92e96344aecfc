package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/loki/internal/crashtest/process"
)

// In all of these tests clients push, query and tail all the time. What was acknowledged must be in each answer
// once, counts must be exact, tails must be complete, a push may fail only as long as a client's ordinary
// repetitions last, and no query may fail that a load balancer has offered to all servers.

// length shortens a fault unless all is to be done at full length.
func length(d, short time.Duration) time.Duration {
	if *full {
		return d
	}
	return short
}

// microservices is the shape in which most faults are tried: it has processes of each kind.
func microservices() shape { return shapes()[3] }

// TestKill kills one process of each kind, one after the other, and starts it again.
func TestKill(t *testing.T) {
	t.Parallel()
	for _, s := range shapes() {
		if s.replicas == 1 || !*full && s.name != "microservices" {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			c := launch(t, layout{shape: s})
			l := underLoad(t, c, 3)
			for _, k := range c.kinds {
				m := c.members[k.name][0]
				if k.name == "backend" { // the only one of its kind: queries have to wait for it
					l.allow(func(*failure) bool { return true })
				}
				m.process().Kill()
				l.wait(t, length(5*time.Second, 2*time.Second))
				m.launch(t)
				took := m.await(t)
				t.Logf("%s was killed and is back after %s", k.name, took.Round(10*time.Millisecond))
				if k.name == c.keeper() {
					c.flush(t) // segments of some, heads of others
				}
				l.wait(t, time.Second)
				l.allow(nil)
			}
			l.finish(t)
		})
	}
}

// TestPartition cuts an ingester off from all others, and joins it again.
func TestPartition(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	// A folder: the namespace does not reach an S3 server on the loopback interface.
	c := launch(t, layout{shape: microservices(), where: []string{"-local.chunk-directory", t.TempDir()}, place: func(kind string, k int) place {
		if kind == "ingester" && k == 2 {
			return n.there()
		}
		return n.here()
	}})
	l := underLoad(t, c, 3)
	n.cut(t)
	l.wait(t, length(30*time.Second, 14*time.Second)) // longer than heartbeats are waited for
	n.mend(t)
	l.wait(t, length(15*time.Second, 5*time.Second))
	c.flush(t)
	l.wait(t, time.Second)
	l.finish(t)
}

// TestOutage takes the object store away while all ingesters cut segments. Pushes and queries of what is not stored yet
// go on; a query that needs what only the object store has fails, and says so. At length it is away for longer than
// ingesters answer for what they have stored.
func TestOutage(t *testing.T) {
	t.Parallel()
	store := startS3(t)
	c := launch(t, layout{shape: microservices(), where: store.flags()})
	l := underLoad(t, c, 3)
	c.flush(t)
	l.wait(t, time.Second)
	l.allow(func(f *failure) bool {
		return f.status == http.StatusServiceUnavailable && strings.Contains(f.text, "object store")
	})
	before := l.acknowledged()
	store.kill()
	for _, m := range c.running("ingester") {
		// The flush fails, and what it should have written stays readable.
		status, _, err := process.Do(t.Context(), http.MethodPost, m.base().String()+"/flush", "", nil)
		if err != nil || status < 500 {
			t.Errorf("flush of %s without an object store = %d, %v", m.name, status, err)
		}
	}
	l.wait(t, length(60*time.Second, 10*time.Second))
	if now := l.acknowledged(); now < before+100 {
		t.Errorf("%d entries were acknowledged before the outage, %d at its end", before, now)
	}
	store.start(t)
	l.wait(t, 8*time.Second) // the breaker tries again every 5s
	l.allow(nil)
	c.flush(t)
	l.wait(t, time.Second)
	l.finish(t)
}

// TestRolling restarts all processes, one after the other, as an upgrade does: no push is lost, no query fails.
func TestRolling(t *testing.T) {
	t.Parallel()
	for _, s := range shapes() {
		if s.replicas == 1 || !*full && s.name != "microservices" {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			c := launch(t, layout{shape: s})
			l := underLoad(t, c, 3)
			for m := range c.all() {
				if m.kind.name == "backend" {
					l.allow(func(*failure) bool { return true })
				}
				began := time.Now()
				if code, err := m.process().Terminate(); err != nil || code != 0 {
					t.Errorf("%s ended with %d, %v: %s", m.name, code, err, m.process().Output())
				}
				down := time.Since(began)
				m.launch(t)
				up := m.await(t)
				m.ready(t)
				t.Logf("%s stopped within %s and is back after %s", m.name, down.Round(10*time.Millisecond), up.Round(10*time.Millisecond))
				if m.kind.name == "backend" {
					l.wait(t, time.Second)
					l.allow(nil)
				}
			}
			l.finish(t)
		})
	}
}

// TestScale adds two ingesters and takes two away again for good: others than those that were added.
func TestScale(t *testing.T) {
	t.Parallel()
	c := launch(t, layout{shape: microservices(), spare: map[string]int{"ingester": 2}})
	l := underLoad(t, c, 3)
	all := c.members["ingester"]
	for _, m := range all[3:] {
		m.launch(t)
		m.await(t)
		m.ready(t)
		l.wait(t, length(5*time.Second, 2*time.Second))
	}
	leave := func(m *member, how func() error) {
		began := time.Now()
		if err := how(); err != nil {
			t.Fatal(err)
		}
		if code, err := m.process().Wait(); err != nil || code != 0 {
			t.Errorf("%s ended with %d, %v: %s", m.name, code, err, m.process().Output())
		}
		t.Logf("%s has left for good after %s", m.name, time.Since(began).Round(10*time.Millisecond))
		l.wait(t, length(5*time.Second, time.Second))
	}
	leave(all[0], func() error { return post(t, all[0], "/ingester/shutdown") })
	leave(all[3], func() error {
		return errors.Join(post(t, all[3], "/ingester/prepare_shutdown"), all[3].process().Signal(syscall.SIGTERM))
	})
	c.members["ingester"] = []*member{all[1], all[2], all[4]}
	// What they held is in segments: a new cluster of processes that know nothing but the bucket would find it.
	for _, m := range []*member{all[0], all[3]} {
		if left, err := filepath.Glob(filepath.Join(m.dir, "wal", "0*")); err != nil || len(left) > 0 {
			t.Errorf("%s has left with %v in its log (%v)", m.name, left, err)
		}
	}
	status, page, err := process.Do(t.Context(), http.MethodGet, c.members["distributor"][0].base().String()+"/ring", "", nil)
	if err != nil || status != http.StatusOK || strings.Contains(string(page), all[0].name+"<") || !strings.Contains(string(page), all[4].name+"<") {
		t.Errorf("the ring page = %d, %v: %s", status, err, page)
	}
	l.finish(t)
}

// post sends a request without a body that is to be answered with 204.
func post(t *testing.T, m *member, path string) error {
	status, text, err := process.Do(t.Context(), http.MethodPost, m.base().String()+path, "", nil)
	if err == nil && status != http.StatusNoContent {
		err = fmt.Errorf("POST %s to %s = %d %s", path, m.name, status, text)
	}
	return err
}

// acknowledged is how many entries all clients have had acknowledged.
func (l *load) acknowledged() int64 {
	n := int64(0)
	for _, one := range l.ledgers {
		n += one.acked.Load()
	}
	return n
}
