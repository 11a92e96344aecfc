package ruler

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"

	"example.com/loki/internal/wire"
)

var (
	// ErrNoGroup is returned where a group does not exist.
	ErrNoGroup = errors.New("group does not exist")

	// ErrNoNamespace is returned where a namespace has no groups.
	ErrNoNamespace = errors.New("group namespace does not exist")

	// ErrInvalid is returned for rules that can't be taken as they are written. The text says what is wrong
	// where; *InvalidError lists it.
	ErrInvalid = errors.New("invalid rules")

	// ErrLimit is returned if a tenant would have more rules than its limits allow.
	ErrLimit = errors.New("limit exceeded")

	// ErrReadOnly is returned for changes where the rules are files that somebody else writes.
	ErrReadOnly = errors.New("rules are read from local files; they can't be changed through the API")
)

// InvalidError lists everything that is wrong with rules. It is an ErrInvalid.
type InvalidError struct{ Problems []Problem }

// Problem is one thing that is wrong.
type Problem struct {
	Line     int    // in the text, from 1 on; 0: unknown
	Group    string // empty: outside of a group, or it has no name
	Rule     int    // in the group, from 1 on; 0: the group itself
	RuleName string
	Text     string
}

// String says what is wrong where.
func (p Problem) String() string {
	var b strings.Builder
	if p.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", p.Line)
	}
	if p.Group != "" {
		fmt.Fprintf(&b, "group %q", p.Group)
		if p.Rule > 0 {
			fmt.Fprintf(&b, ", rule %d", p.Rule)
			if p.RuleName != "" {
				fmt.Fprintf(&b, " (%s)", p.RuleName)
			}
		}
		b.WriteString(": ")
	}
	b.WriteString(p.Text)
	return b.String()
}

// Error lists the problems, one a line.
func (e *InvalidError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Is tells that it is an ErrInvalid.
func (e *InvalidError) Is(target error) bool { return target == ErrInvalid }

// WireErrors returns the errors that stay what they are between processes.
func WireErrors() []wire.Kind {
	return []wire.Kind{
		wire.Sentinel("ruler.ErrNoGroup", codes.NotFound, ErrNoGroup),
		wire.Sentinel("ruler.ErrNoNamespace", codes.NotFound, ErrNoNamespace),
		wire.Sentinel("ruler.ErrInvalid", codes.InvalidArgument, ErrInvalid),
		wire.Sentinel("ruler.ErrLimit", codes.ResourceExhausted, ErrLimit),
		wire.Sentinel("ruler.ErrReadOnly", codes.FailedPrecondition, ErrReadOnly),
	}
}
