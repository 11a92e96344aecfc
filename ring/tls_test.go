package ring

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/grafana/dskit/services"

	"example.com/loki/internal/tlsfile/tlsfiletest"
)

// TestGossipOverTLS lets members with certificates of one authority find each other, and keeps out one without TLS
// and one with a certificate of somebody else.
func TestGossipOverTLS(t *testing.T) {
	ours, theirs := tlsfiletest.New(t, "ours"), tlsfiletest.New(t, "theirs")
	with := func(cfg Config, a *tlsfiletest.Authority) Config {
		files := a.Issue(t, "member")
		cfg.TLS = &TLS{CertFile: files.Cert, KeyFile: files.Key, CAFile: a.CA(), ServerName: "member"}
		return cfg
	}
	quick := LifecyclerConfig{ObservePeriod: 50 * time.Millisecond}
	a := newNode(t, with(loopbackConfig("n-a"), ours), quick)
	seed := fmt.Sprintf("127.0.0.1:%d", a.GossipPort())
	b := newNode(t, with(loopbackConfig("n-b", seed), ours), quick)
	for _, n := range []*node{a, b} {
		awaitStates(t, n.ring, "n-a ACTIVE, n-b ACTIVE")
	}
	for _, cfg := range []Config{loopbackConfig("n-c", seed), with(loopbackConfig("n-d", seed), theirs)} {
		cfg.RequireJoin, cfg.JoinRetries, cfg.MinJoinPause, cfg.MaxJoinPause = true, 1, time.Millisecond, time.Millisecond
		m, err := New(cfg, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := services.StartAndAwaitRunning(context.Background(), m); err == nil || !strings.Contains(m.FailureCase().Error(), "join") {
			t.Errorf("%s joins: %v", cfg.InstanceID, err)
			stop(t, m)
		}
	}
	awaitStates(t, a.ring, "n-a ACTIVE, n-b ACTIVE")
}
