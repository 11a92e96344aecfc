package syntax

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
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

// PathStep is a step of a JSON path: to element Index of an array or, if Index is negative, into the
// field Name of an object.
type PathStep struct {
	Name  string
	Index int
}

// ParsePath splits the path of a json stage, such as a.b[0]["x y"].
func ParsePath(text string) ([]PathStep, error) {
	var steps []PathStep
	for at := 0; at < len(text) || at == 0; {
		step, end, ok := pathStep(text, at)
		if !ok {
			if end == len(text) {
				return nil, fmt.Errorf("cannot parse expression [%s]: unexpected end", text)
			}
			r, _ := utf8.DecodeRuneInString(text[end:])
			return nil, fmt.Errorf("cannot parse expression [%s]: unexpected char %c", text, r)
		}
		steps = append(steps, step)
		at = end
	}
	return steps, nil
}

// pathStep reads the step at a place and returns where it ends, or where it is wrong.
func pathStep(text string, at int) (step PathStep, end int, ok bool) {
	if at == len(text) || text[at] != '[' {
		if at > 0 {
			if text[at] != '.' {
				return step, at, false
			}
			at++
		}
		end = wordEnd(text, at)
		if !validName(text[at:end]) {
			return step, at, false
		}
		return PathStep{Name: text[at:end], Index: -1}, end, true
	}
	at++
	end = at
	if quoted, err := strconv.QuotedPrefix(text[at:]); err == nil && quoted[0] == '"' {
		step.Index = -1
		step.Name, _ = strconv.Unquote(quoted)
		end += len(quoted)
	} else {
		for end < len(text) && isDigit(text[end]) {
			end++
		}
		if step.Index, err = strconv.Atoi(text[at:end]); err != nil {
			return step, end, false
		}
	}
	if end == len(text) || text[end] != ']' {
		return step, end, false
	}
	return step, end + 1, true
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
