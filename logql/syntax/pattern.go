package syntax

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// PatternPart is a piece of a pattern: literal text, or a capture if Name isn't empty. The name "_"
// is of a capture that is not kept.
type PatternPart struct {
	Literal, Name string
}

// ParsePattern splits the expression of a pattern stage, such as `<ip> - <_> "<method>`. At least one
// capture has a name, names are unique, and between captures there is text.
func ParsePattern(text string) ([]PatternPart, error) {
	if text == "" {
		return nil, errors.New("the pattern is empty")
	}
	parts, err := splitPattern(text)
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	for _, p := range parts {
		if p.Name == "" || p.Name == "_" {
			continue
		}
		if seen[p.Name] {
			return nil, fmt.Errorf("duplicate capture name (%s): invalid expression", p.Name)
		}
		seen[p.Name] = true
	}
	if len(seen) == 0 {
		return nil, errors.New("at least one capture is required")
	}
	return parts, nil
}

// ParseLinePattern splits the expression of a |> or !> filter, whose captures have no names. It may
// be empty.
func ParseLinePattern(text string) ([]PatternPart, error) {
	parts, err := splitPattern(text)
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		if p.Name != "" && p.Name != "_" {
			return nil, fmt.Errorf("named captures are not allowed: found '<%s>'", p.Name)
		}
	}
	return parts, nil
}

// splitPattern takes <name> for a capture and all else for literal text.
func splitPattern(text string) ([]PatternPart, error) {
	var parts []PatternPart
	start := 0 // of the literal that has begun
	for at := 0; at < len(text); {
		name, ok := captureAt(text, at)
		if !ok {
			at++
			continue
		}
		if start < at {
			parts = append(parts, PatternPart{Literal: text[start:at]})
		} else if len(parts) > 0 {
			return nil, fmt.Errorf("found consecutive capture '<%s><%s>': invalid expression", parts[len(parts)-1].Name, name)
		}
		parts = append(parts, PatternPart{Name: name})
		at += len(name) + len("<>")
		start = at
	}
	if start < len(text) {
		parts = append(parts, PatternPart{Literal: text[start:]})
	}
	return parts, nil
}

// captureAt reads <name>.
func captureAt(text string, at int) (string, bool) {
	if text[at] != '<' {
		return "", false
	}
	end := wordEnd(text, at+1)
	if end == len(text) || text[end] != '>' || !validName(text[at+1:end]) {
		return "", false
	}
	return text[at+1 : end], true
}

// PathStep is a step of a JSON path: into the field Name or, if Name is nil, to an element of an
// array.
type PathStep struct {
	Name  *string
	Index int
}

// ParsePath splits the path of a json stage, such as a.b[0]["x y"].
func ParsePath(text string) ([]PathStep, error) {
	var steps []PathStep
	bad := func(at int) error {
		if at >= len(text) {
			return fmt.Errorf("cannot parse expression [%s]: unexpected end", text)
		}
		return fmt.Errorf("cannot parse expression [%s]: unexpected char %c", text, []rune(text[at:])[0])
	}
	field := func(at int) (int, error) {
		end := wordEnd(text, at)
		if !validName(text[at:end]) {
			return 0, bad(at)
		}
		name := text[at:end]
		steps = append(steps, PathStep{Name: &name})
		return end, nil
	}
	at, err := 0, error(nil)
	if text == "" || text[0] != '[' {
		if at, err = field(0); err != nil {
			return nil, err
		}
	}
	for at < len(text) {
		switch {
		case text[at] == '.' && at > 0:
			if at, err = field(at + 1); err != nil {
				return nil, err
			}
		case text[at] == '[':
			inner := at + 1
			end := inner
			if quoted, qerr := strconv.QuotedPrefix(text[inner:]); qerr == nil && quoted[0] != '\'' {
				name, _ := strconv.Unquote(quoted)
				steps = append(steps, PathStep{Name: &name})
				end += len(quoted)
			} else {
				for end < len(text) && isDigit(text[end]) {
					end++
				}
				n, err := strconv.Atoi(text[inner:end])
				if err != nil {
					return nil, bad(end)
				}
				steps = append(steps, PathStep{Index: n})
			}
			if end >= len(text) || text[end] != ']' {
				return nil, bad(end)
			}
			at = end + 1
		default:
			return nil, bad(at)
		}
	}
	return steps, nil
}

// IPRange is a range of addresses, both ends included.
type IPRange struct {
	From, To netip.Addr
}

// Contains tells whether a lies in the range. An address of the other family does not.
func (r IPRange) Contains(a netip.Addr) bool {
	return a.BitLen() == r.From.BitLen() && r.From.Compare(a) <= 0 && a.Compare(r.To) <= 0
}

// ParseIPRange reads the argument of ip(): an address, a prefix (10.0.0.0/8) or first-last.
func ParseIPRange(text string) (IPRange, error) {
	bad := func() (IPRange, error) { return IPRange{}, fmt.Errorf("ip: invalid pattern: %q", text) }
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return bad()
		}
		return IPRange{From: p.Masked().Addr(), To: lastAddr(p)}, nil
	}
	first, last, ranged := strings.Cut(text, "-")
	if !ranged {
		last = first
	}
	from, err1 := netip.ParseAddr(first)
	to, err2 := netip.ParseAddr(last)
	if err1 != nil || err2 != nil || from.BitLen() != to.BitLen() || to.Less(from) {
		return bad()
	}
	return IPRange{From: from.WithZone(""), To: to.WithZone("")}, nil
}

// lastAddr returns the address of a prefix whose other bits are all set.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
