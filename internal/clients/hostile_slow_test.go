//go:build linux

package clients

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestHostileSlowness opens many connections that send a byte now and then: headers that don't end, bodies
// that don't come, answers that nobody reads. The server must cut them off, and meanwhile serve others.
func TestHostileSlowness(t *testing.T) {
	t.Parallel()
	v := attack(t, "-server.http-read-header-timeout=1s", "-server.http-read-timeout=2s", "-server.http-write-timeout=3s")
	addr := strings.TrimPrefix(v.URL, "http://")
	const each = 600
	before := v.memory(t, "VmRSS")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()

	// trickle sends a head and then a byte every 100 ms until the server hangs up.
	trickle := func(head string) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, head); err != nil {
			return err
		}
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			_, _ = io.Copy(io.Discard, conn)
		}()
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-gone:
				return nil
			case <-ctx.Done():
				return fmt.Errorf("a client that sent %.20q… was still served after 30 s", head)
			case <-tick.C:
				_, _ = conn.Write([]byte("a"))
			}
		}
	}
	var crowd sync.WaitGroup
	var once sync.Once
	began := time.Now()
	for _, head := range []string{
		"GET /ready HTTP/1.1\r\nHost: x\r\nX-A: ",
		"POST /loki/api/v1/push HTTP/1.1\r\nHost: x\r\nX-Scope-OrgID: evil\r\nContent-Type: application/json\r\nContent-Length: 104857600\r\n\r\n{",
		"POST /loki/api/v1/push HTTP/1.1\r\nHost: x\r\nX-Scope-OrgID: evil\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5000000\r\n{",
		"POST /loki/api/v1/query_range HTTP/1.1\r\nHost: x\r\nX-Scope-OrgID: evil\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 9999999\r\n\r\nquery=",
	} {
		for range each {
			crowd.Go(func() {
				if err := trickle(head); err != nil {
					once.Do(func() { t.Error(err) })
				}
			})
		}
	}
	crowd.Wait()
	peak := v.memory(t, "VmHWM")
	t.Logf("%d slow clients were cut off within %v; memory %d MiB before, %d at most", 4*each, time.Since(began), before>>20, peak>>20)
	if peak > 512<<20 {
		t.Errorf("%d slow clients took %d MiB", 4*each, peak>>20)
	}
}

// TestHostileTails opens more tails than a tenant may have.
func TestHostileTails(t *testing.T) {
	t.Parallel()
	v := attack(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var refused atomic.Int64
	var reading sync.WaitGroup
	for range 30 {
		conn, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(v.URL, "http")+`/loki/api/v1/tail?query=%7Bapp%3D%22evil%22%7D`,
			&websocket.DialOptions{HTTPHeader: map[string][]string{"X-Scope-OrgID": {"evil"}}})
		if err != nil {
			refused.Add(1)
			continue
		}
		reading.Go(func() {
			defer conn.CloseNow()
			if _, _, err := conn.Read(ctx); websocket.CloseStatus(err) == websocket.StatusPolicyViolation {
				refused.Add(1)
			}
		})
	}
	await(t, func() bool { return refused.Load() >= 20 })
	cancel()
	reading.Wait()
	if n := refused.Load(); n != 20 {
		t.Errorf("%d of 30 tails were refused, want 20: the limit is 10", n)
	}
}
