//go:build unix

package e2e

import (
	"syscall"
	"testing"
	"time"
)

// TestFreeze stops an ingester, so that its connections stay open and nothing comes back, and lets it go on.
func TestFreeze(t *testing.T) {
	t.Parallel()
	c := launch(t, layout{shape: microservices()})
	l := underLoad(t, c, 3)
	m := c.members["ingester"][1]
	if err := m.process().Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	l.wait(t, length(30*time.Second, 8*time.Second))
	if err := m.process().Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	l.wait(t, length(10*time.Second, 3*time.Second))
	c.flush(t)
	l.wait(t, time.Second)
	l.finish(t)
}
