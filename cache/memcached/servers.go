package memcached

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/cespare/xxhash/v2"
)

// servers chooses a server for each key: that with the highest hash of both. When one comes or goes, only
// its own keys move.
type servers struct {
	cfg       Config
	resolving sync.Mutex // held by who looks names up

	mu   sync.RWMutex
	all  []net.Addr
	next time.Time // when names are looked up again
}

var (
	_ memcache.ServerSelector = (*servers)(nil)

	errNoServers = errors.New("memcached: no server's address is known")
)

// address is that of a server.
type address string

// Network implements net.Addr.
func (address) Network() string { return "tcp" }

// String implements net.Addr.
func (a address) String() string { return string(a) }

// PickServer implements memcache.ServerSelector.
func (s *servers) PickServer(key string) (net.Addr, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var best net.Addr
	var most uint64
	for _, a := range s.all {
		var d xxhash.Digest
		d.Reset()
		_, _ = d.WriteString(a.String()) // never fails
		_, _ = d.WriteString(key)
		if h := d.Sum64(); best == nil || h > most {
			best, most = a, h
		}
	}
	if best == nil {
		return nil, errNoServers
	}
	return best, nil
}

// Each implements memcache.ServerSelector.
func (s *servers) Each(f func(net.Addr) error) error {
	s.mu.RLock()
	all := slices.Clone(s.all)
	s.mu.RUnlock()
	for _, a := range all {
		if err := f(a); err != nil {
			return err
		}
	}
	return nil
}

// refresh looks names up if it is time. While one caller does, others go on with what was known, if
// anything was.
func (s *servers) refresh(ctx context.Context) {
	due := func() (due, empty bool) {
		s.mu.RLock()
		defer s.mu.RUnlock()
		return !s.cfg.Now().Before(s.next), len(s.all) == 0
	}
	switch now, empty := due(); {
	case !now:
		return
	case empty:
		s.resolving.Lock()
	case !s.resolving.TryLock():
		return
	}
	defer s.resolving.Unlock()
	if now, _ := due(); !now {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	found := s.resolve(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(found) > 0 {
		s.all = found // otherwise the old ones are the best guess
	}
	s.next = s.cfg.Now().Add(s.cfg.ResolveEvery)
}

// resolve returns the addresses that can be found out now.
func (s *servers) resolve(ctx context.Context) []net.Addr {
	var found []string
	for _, a := range s.cfg.Addresses {
		if name, ok := strings.CutPrefix(a, "dnssrv+"); ok {
			if _, records, err := net.DefaultResolver.LookupSRV(ctx, "", "", name); err == nil {
				for _, r := range records {
					found = append(found, net.JoinHostPort(strings.TrimSuffix(r.Target, "."), strconv.Itoa(int(r.Port))))
				}
			}
			continue
		}
		name, ok := strings.CutPrefix(a, "dns+")
		if !ok {
			found = append(found, a)
			continue
		}
		host, port, err := net.SplitHostPort(name)
		if err != nil {
			host, port = name, "11211"
		}
		if ips, err := net.DefaultResolver.LookupHost(ctx, host); err == nil {
			for _, ip := range ips {
				found = append(found, net.JoinHostPort(ip, port))
			}
		}
	}
	slices.Sort(found)
	var all []net.Addr
	for _, a := range slices.Compact(found) {
		all = append(all, address(a))
	}
	return all
}
