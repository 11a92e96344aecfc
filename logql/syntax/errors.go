package syntax

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// ParseError says where a query is wrong and what to do about it. All errors of Parse and its
// siblings are of this type.
type ParseError struct {
	// Pos is the offset in bytes. Line and Col, in characters, count from 1; they are 0 where the
	// query is not known, see Locate.
	Pos       Pos
	Line, Col int

	// Msg is what is wrong, without the position.
	Msg string

	// Expected lists what could stand there instead, if the query is wrong by its grammar.
	Expected []string

	// Hint, if there is one, tells how to correct the query.
	Hint string
}

// Error returns position, message, what was expected and the hint in one line:
//
//	parse error at line 1, col 14: syntax error: unexpected $end, expecting } or , (close the selector with "}")
func (e *ParseError) Error() string {
	var b strings.Builder
	b.WriteString("parse error ")
	if e.Line > 0 {
		fmt.Fprintf(&b, "at line %d, col %d", e.Line, e.Col)
	}
	b.WriteString(": ")
	b.WriteString(e.Msg)
	if len(e.Expected) > 0 {
		b.WriteString(", expecting ")
		b.WriteString(strings.Join(e.Expected, " or "))
	}
	if e.Hint != "" {
		b.WriteString(" (")
		b.WriteString(e.Hint)
		b.WriteByte(')')
	}
	return b.String()
}

// Locate returns a copy of the error with Line and Col set from Pos, a place in query. It is for
// those who find an error in a parsed node and know its position only.
func (e *ParseError) Locate(query string) *ParseError {
	c := *e
	at := min(max(int(e.Pos), 0), len(query))
	before := query[:at]
	c.Line = 1 + strings.Count(before, "\n")
	c.Col = 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
	return &c
}
