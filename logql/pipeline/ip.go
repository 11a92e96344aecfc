package pipeline

import (
	"fmt"
	"net/netip"
	"strings"
)

// ipMatcher is a range of addresses.
type ipMatcher struct{ first, last netip.Addr }

// newIPMatcher parses a single address, a CIDR prefix or first-last.
func newIPMatcher(s string) (ipMatcher, error) {
	bad := fmt.Errorf("ip: invalid pattern: %q is no address, prefix or range", s)
	if first, last, ok := strings.Cut(s, "-"); ok {
		a, err := netip.ParseAddr(strings.TrimSpace(first))
		if err != nil {
			return ipMatcher{}, bad
		}
		b, err := netip.ParseAddr(strings.TrimSpace(last))
		if err != nil || a.Is4() != b.Is4() || b.Less(a) {
			return ipMatcher{}, bad
		}
		return ipMatcher{a, b}, nil
	}
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return ipMatcher{}, bad
		}
		return ipMatcher{p.Masked().Addr(), lastOf(p)}, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return ipMatcher{}, bad
	}
	return ipMatcher{a, a}, nil
}

// lastOf returns the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// contains tells whether an address lies in the range.
func (m ipMatcher) contains(a netip.Addr) bool {
	a = a.WithZone("")
	return a.BitLen() == m.first.BitLen() && !a.Less(m.first) && !m.last.Less(a)
}

// inText tells whether some address in a text lies in the range. An address ends where a character
// comes that can't belong to one.
func (m ipMatcher) inText(s string) bool {
	digits := isIPv6Byte
	if m.first.Is4() {
		digits = isIPv4Byte
	}
	for i := 0; i < len(s); {
		if !digits(s[i]) {
			i++
			continue
		}
		end := i + 1
		for end < len(s) && digits(s[end]) {
			end++
		}
		if m.inWord(s[i:end]) {
			return true
		}
		i = end
	}
	return false
}

// inWord looks at a run of characters that can belong to an address.
func (m ipMatcher) inWord(s string) bool {
	if len(s) < 2 || len(s) > 64 {
		return false
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return m.contains(a)
	}
	if t := strings.TrimRight(s, ".:"); t != s { // end of a sentence, or a colon before something else
		if a, err := netip.ParseAddr(t); err == nil {
			return m.contains(a)
		}
	}
	return false
}

func isIPv4Byte(c byte) bool { return isDigit(c) || c == '.' }

func isIPv6Byte(c byte) bool {
	return isDigit(c) || c == '.' || c == ':' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
