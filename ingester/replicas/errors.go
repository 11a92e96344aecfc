package replicas

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"example.com/loki/ingester"
)

// ErrNoQuorum means that too few ingesters have taken a push, or too many of them did not answer a read. What
// each of them said is wrapped, too. The caller may try again.
var ErrNoQuorum = errors.New("replicas: too few ingesters answer")

// noQuorum is an ErrNoQuorum.
type noQuorum struct {
	what   string
	causes []error
}

func newNoQuorum(what string, causes ...error) *noQuorum {
	e := &noQuorum{what: what}
	seen := make(map[string]bool)
	for _, c := range causes {
		if c != nil && !seen[c.Error()] {
			seen[c.Error()] = true
			e.causes = append(e.causes, c)
		}
	}
	return e
}

// Error says what was wanted and what each ingester said.
func (e *noQuorum) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", ErrNoQuorum, e.what)
	for n, c := range e.causes {
		if n == 0 {
			b.WriteString(": ")
		} else {
			b.WriteString("; ")
		}
		b.WriteString(c.Error())
	}
	return b.String()
}

// Unwrap returns ErrNoQuorum, ingester.ErrNotReady, as those who know only ingesters are to try again, and the
// causes.
func (e *noQuorum) Unwrap() []error {
	return append([]error{ErrNoQuorum, ingester.ErrNotReady}, e.causes...)
}

var (
	errSlow = errors.New("has not answered in time")
	errBusy = errors.New("has too much under way")
)

// blames tells whether an error speaks against the ingester that it comes from, rather than against the request
// or the caller.
func blames(err error) bool {
	return err != nil && !errors.Is(err, ingester.ErrStreamLimit) && !errors.Is(err, ingester.ErrTooLarge) &&
		!errors.Is(err, context.Canceled) && !errors.Is(err, errBusy)
}
