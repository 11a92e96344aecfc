// Package resolve finds the processes behind names, where no ring says who there is.
package resolve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/grafana/dskit/services"

	"example.com/loki/ring/member"
)

// Addresses stands for the processes behind configured names as if they formed a ring: each address that a name has
// is one of them, and all who ask about a key and see the same addresses choose the same one. It is a dskit service
// that looks the names up while it runs.
type Addresses struct {
	services.Service

	kind   string
	names  []string // host:port
	lookup func(ctx context.Context, host string) ([]string, error)
	log    *slog.Logger
	latest atomic.Pointer[found]
}

// found is what a look-up has found.
type found struct {
	member.Static
	names map[string]string // name by address
}

var _ member.Reader = (*Addresses)(nil)

const (
	lookupEvery   = 10 * time.Second
	lookupTimeout = 5 * time.Second
)

// New returns the processes at addresses: host:port, with or without "dns:///" before it. kind names what they are in
// errors and logs, such as "index gateway". logger may be nil.
func New(kind string, addrs []string, logger *slog.Logger) (*Addresses, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	a := &Addresses{kind: kind, log: logger, lookup: net.DefaultResolver.LookupHost}
	for _, addr := range addrs {
		name := strings.TrimPrefix(strings.TrimPrefix(addr, "dns:"), "///")
		if _, _, err := net.SplitHostPort(name); err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
		a.names = append(a.names, name)
	}
	a.latest.Store(&found{Static: member.Fixed(member.Options{Kind: kind})})
	a.Service = services.NewBasicService(a.starting, a.running, nil)
	return a, nil
}

// View implements member.Reader.
func (a *Addresses) View() member.View { return a.latest.Load().View() }

// Name returns the configured name behind an address, host:port.
func (a *Addresses) Name(addr string) string { return a.latest.Load().names[addr] }

// starting looks the names up. If that fails it is tried again later: whoever starts first must not wait for others.
func (a *Addresses) starting(ctx context.Context) error {
	a.refresh(ctx)
	return nil
}

func (a *Addresses) running(ctx context.Context) error {
	tick := time.NewTicker(lookupEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			a.refresh(ctx)
		}
	}
}

// refresh looks all names up. Those of a name that can't be looked up stay as they were.
func (a *Addresses) refresh(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	before := a.latest.Load()
	names := map[string]string{}
	for _, name := range a.names {
		host, port, err := net.SplitHostPort(name)
		var ips []string
		if err == nil {
			ips, err = a.lookup(ctx, host)
		}
		if err == nil && len(ips) == 0 {
			err = errors.New("it has no address")
		}
		if err != nil {
			if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
				a.log.Warn("a name can't be looked up", "of", a.kind, "name", name, "err", err)
			}
			for addr, of := range before.names {
				if of == name {
					names[addr] = name
				}
			}
			continue
		}
		for _, ip := range ips {
			if addr := net.JoinHostPort(ip, port); names[addr] == "" {
				names[addr] = name
			}
		}
	}
	addrs := make([]string, 0, len(names))
	for addr := range names {
		addrs = append(addrs, addr)
	}
	slices.Sort(addrs)
	a.latest.Store(&found{member.Fixed(member.Options{Kind: a.kind}, addrs...), names})
}
