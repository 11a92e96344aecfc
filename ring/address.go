package ring

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/grafana/dskit/netutil"
)

// ErrUnreachable is returned at the start if the address that this process would give to others is one that they
// cannot reach. The text says what to set.
var ErrUnreachable = errors.New("ring: other members could not reach this process")

// ourHost returns the host that this process advertises for its gRPC server.
func (m *Membership) ourHost() (string, error) {
	c := m.cfg
	if c.InstanceAddr != "" {
		if kindOf(c.InstanceAddr) == unspecified {
			return "", fmt.Errorf("%w: InstanceAddr %s is no address to connect to; set it to one of this host's addresses",
				ErrUnreachable, c.InstanceAddr)
		}
		if kindOf(c.InstanceAddr) == loopback && m.joinsOthers() {
			return "", fmt.Errorf("%w: InstanceAddr is %s, but Join names members on other hosts (%s); set it to an address that they reach",
				ErrUnreachable, c.InstanceAddr, strings.Join(c.Join, ", "))
		}
		return c.InstanceAddr, nil
	}
	away := m.joinsOthers()
	switch kindOf(c.ListenAddr) {
	case loopback:
		if away {
			return "", fmt.Errorf("%w: the gRPC server listens on %s only, but Join names members on other hosts (%s); let it "+
				"listen on all addresses or on one that they reach, or set InstanceAddr to the address of a proxy",
				ErrUnreachable, c.ListenAddr, strings.Join(c.Join, ", "))
		}
		return cmp.Or(bareHost(c.ListenAddr), "127.0.0.1"), nil
	case routable:
		return bareHost(c.ListenAddr), nil
	}
	if c.Store == InMemory {
		return "127.0.0.1", nil // nobody else will ask
	}
	names := c.Interfaces
	if len(names) == 0 {
		names = netutil.PrivateNetworkInterfacesWithFallback(nil, m.kitlog)
	}
	var host string
	var err error
	if len(names) > 0 {
		host, err = netutil.GetFirstAddressOf(names, m.kitlog, c.IPv6)
	} else {
		// No private address: take any but a loopback one.
		host, err = netutil.GetFirstAddressOf(nil, m.kitlog, c.IPv6)
	}
	if err == nil && kindOf(host) == routable {
		return host, nil
	}
	if !away {
		return "127.0.0.1", nil // all that it joins is on this host
	}
	if len(c.Interfaces) > 0 {
		return "", fmt.Errorf("%w: the interfaces %s have no address but loopback; set Interfaces to others (this host has %s), or "+
			"InstanceAddr", ErrUnreachable, strings.Join(c.Interfaces, ", "), interfaceNames())
	}
	return "", fmt.Errorf("%w: this host has no address but loopback (interfaces %s); set InstanceAddr to the address at which %s reach it",
		ErrUnreachable, interfaceNames(), strings.Join(c.Join, ", "))
}

// doubtAddress says so if an address that was set looks as if others could not reach this process at it. It need not be wrong: a
// name may be known later, and an address may be that of a proxy.
func (m *Membership) doubtAddress(ctx context.Context) {
	host := bareHost(m.cfg.InstanceAddr)
	if host == "" || m.cfg.Store == InMemory {
		return
	}
	log := m.logger.With("setting", "InstanceAddr (common.ring.instance_addr)", "address", host)
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	ips, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		log.Warn("the address that others get can't be looked up here; as long as they can't either, they don't reach this process", "error", err)
		return
	}
	ours, err := net.InterfaceAddrs()
	if err != nil {
		return
	}
	for _, ip := range ips {
		for _, a := range ours {
			if n, ok := a.(*net.IPNet); ok && (n.IP.Equal(ip.IP) || n.IP.IsLoopback() && n.Contains(ip.IP)) {
				return
			}
		}
	}
	log.Warn("the address that others get is that of no interface of this host; they reach this process only if something forwards to it")
}

// gossipAddr returns the IP address that gossip advertises.
func (m *Membership) gossipAddr(host string) (string, error) {
	c := m.cfg
	from := "AdvertiseAddr"
	addr := c.AdvertiseAddr
	if addr == "" && kindOf(c.BindAddr) != unspecified {
		addr, from = c.BindAddr, "BindAddr"
	}
	if addr == "" {
		addr, from = host, "InstanceAddr"
	}
	if kindOf(addr) == unspecified {
		return "", fmt.Errorf("%w: %s %s is no address to connect to", ErrUnreachable, from, addr)
	}
	if from == "BindAddr" && kindOf(addr) == loopback && m.joinsOthers() {
		return "", fmt.Errorf("%w: gossip listens on %s only, but Join names members on other hosts (%s); leave BindAddr empty, or set "+
			"it to an address that they reach", ErrUnreachable, addr, strings.Join(c.Join, ", "))
	}
	if net.ParseIP(addr) != nil {
		return addr, nil
	}
	ips, err := net.LookupIP(addr)
	if err != nil {
		return "", fmt.Errorf("ring: look up the address to advertise: %w", err)
	}
	if len(ips) == 0 {
		return "", fmt.Errorf("ring: %s %q has no IP address", from, addr)
	}
	return ips[0].String(), nil
}

// joinsOthers tells whether some member to join may be on another host.
func (m *Membership) joinsOthers() bool {
	for _, j := range m.cfg.Join {
		if strings.Contains(j, "+") || kindOf(j) == routable {
			return true
		}
	}
	return false
}

type addressKind uint8

const (
	unspecified addressKind = iota // all addresses of a host
	loopback
	routable
)

// kindOf judges a host, with or without a port.
func kindOf(addr string) addressKind {
	host := bareHost(addr)
	if host == "" {
		return unspecified
	}
	if strings.EqualFold(host, "localhost") {
		return loopback
	}
	ip := net.ParseIP(host)
	switch {
	case ip == nil:
		return routable
	case ip.IsUnspecified():
		return unspecified
	case ip.IsLoopback():
		return loopback
	}
	return routable
}

func bareHost(addr string) string {
	if h, _, err := net.SplitHostPort(addr); err == nil {
		return h
	}
	return strings.Trim(addr, "[]")
}

func interfaceNames() string {
	all, err := net.Interfaces()
	if err != nil || len(all) == 0 {
		return "none"
	}
	names := make([]string, len(all))
	for n, i := range all {
		names[n] = i.Name
	}
	return strings.Join(names, ", ")
}
