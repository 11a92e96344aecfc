package pipeline

import (
	"net/netip"
	"strings"

	"example.com/loki/logql/syntax"
)

// ipMatcher is a range of addresses.
type ipMatcher struct{ syntax.IPRange }

func newIPMatcher(s string) (ipMatcher, error) {
	r, err := syntax.ParseIPRange(s)
	return ipMatcher{r}, err
}

// contains tells whether an address lies in the range.
func (m ipMatcher) contains(a netip.Addr) bool { return m.Contains(a.WithZone("")) }

// inText tells whether some address in a text lies in the range. What could belong to an IPv6 address
// is taken as a whole; if that is no address, numbers with dots in it may be (10.0.0.1:443, x10.0.0.1y).
func (m ipMatcher) inText(s string) bool {
	mark := byte(':') // each address has one
	if m.From.Is4() {
		mark = '.'
	}
	for done := 0; ; {
		at := strings.IndexByte(s[done:], mark)
		if at < 0 {
			return false
		}
		at += done
		from, to := at, at+1
		for from > done && isIPByte(s[from-1]) {
			from--
		}
		for to < len(s) && isIPByte(s[to]) {
			to++
		}
		if m.inWord(s[from:to]) {
			return true
		}
		done = to
	}
}

// maxIPLength is the length of the longest way to write an address.
const maxIPLength = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255")

func (m ipMatcher) inWord(s string) bool {
	dots, colons := strings.Count(s, "."), strings.Count(s, ":")
	if colons >= 2 && len(s) <= maxIPLength && (colons >= 6 || strings.Contains(s, "::")) {
		if a, err := netip.ParseAddr(s); err == nil {
			return m.contains(a)
		}
	}
	if dots < 3 || !m.From.Is4() {
		return false
	}
	for i := 0; i < len(s); {
		end := i
		for end < len(s) && (isDigit(s[end]) || s[end] == '.') {
			end++
		}
		if n := end - i; n >= len("1.2.3.4") && n <= len("255.255.255.255") {
			if a, err := netip.ParseAddr(s[i:end]); err == nil && m.contains(a) {
				return true
			}
		}
		i = end + 1
	}
	return false
}

func isIPByte(c byte) bool {
	return isDigit(c) || c == '.' || c == ':' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
