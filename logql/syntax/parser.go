package syntax

import (
	"fmt"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
)

const (
	// MaxQuerySize is the length of the longest query, in bytes, that is parsed.
	MaxQuerySize = 128 << 10
	// maxDepth bounds how deeply expressions nest. It keeps all that recurses into a query safe.
	maxDepth = 1000
	// maxRegexps bounds the instructions of all regular expressions of a query together. One takes
	// about 140 bytes when it is compiled.
	maxRegexps = 256 << 10
	// maxMessage is the length of the longest part of an error message.
	maxMessage = 1000
)

// Parse reads a LogQL query: *LogExpr or a MetricExpr. The error is a *ParseError.
//
// What Parse returns has passed all checks that need no data: regular expressions compile, patterns
// and addresses are well-formed, functions have the parameters, the unwrap and the grouping they
// need and no others. Templates are not looked into. Arithmetic between numbers is done, so 1 + 2
// gives the Literal 3.
func Parse(query string) (Expr, error) {
	return parse(query, func(p *parser) Expr {
		e := p.expr(0)
		p.end()
		p.check(e)
		return e
	})
}

// ParseLog reads a query that must select log lines.
func ParseLog(query string) (*LogExpr, error) {
	e, err := Parse(query)
	if err != nil {
		return nil, err
	}
	if log, ok := e.(*LogExpr); ok {
		return log, nil
	}
	return nil, (&ParseError{
		Pos: e.Position(), Msg: "only log selector is supported", Hint: "leave out functions and operators",
	}).Locate(query)
}

// ParseMatchers reads a stream selector without a pipeline, such as {app="api", env=~"prod|dev"}.
func ParseMatchers(query string) ([]*labels.Matcher, error) {
	return parseMatchers(query, false)
}

// ParseSeriesMatchers is ParseMatchers for lists of series, where {} means everything.
func ParseSeriesMatchers(query string) ([]*labels.Matcher, error) {
	return parseMatchers(query, true)
}

func parseMatchers(query string, all bool) ([]*labels.Matcher, error) {
	return parse(query, func(p *parser) []*labels.Matcher {
		e := p.expr(0)
		p.end()
		log, ok := e.(*LogExpr)
		if !ok || len(log.Stages) > 0 {
			pos := e.Position()
			if ok {
				pos = log.Stages[0].Position()
			}
			p.fail(pos, `leave only the selector, such as {app="api"}`, "only label matchers are supported")
		}
		if !all || len(log.Matchers) > 0 {
			p.check(e)
		}
		return log.Matchers
	})
}

// parse runs f and turns what it throws into an error.
func parse[T any](query string, f func(*parser) T) (result T, err error) {
	if len(query) > MaxQuerySize {
		return result, (&ParseError{
			Pos:  MaxQuerySize,
			Msg:  fmt.Sprintf("input size too long (%d > %d)", len(query), MaxQuerySize),
			Hint: "use a regular expression instead of a long list",
		}).Locate(query)
	}
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(*ParseError)
			if !ok {
				panic(r)
			}
			e.Msg, e.Hint = shorten(e.Msg), shorten(e.Hint)
			err = e.Locate(query)
		}
	}()
	p := &parser{lexer: lexer{query: query}}
	p.advance()
	return f(p), nil
}

// shorten cuts what a query may have made very long.
func shorten(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	return strings.ToValidUTF8(s[:maxMessage], "") + "…"
}

// parser is a recursive-descent parser with one token of look-ahead. Errors are thrown: they pass
// through all its methods at once and are caught in parse.
type parser struct {
	lexer
	tok   token // the next one
	depth int   // of recursion

	regexps int // instructions of the regular expressions so far
}

// advance steps to the next token and returns the one before.
func (p *parser) advance() token {
	t := p.tok
	p.tok = p.lexer.next()
	return t
}

// fail throws an error at pos.
func (p *parser) fail(pos Pos, hint, format string, args ...any) {
	p.lexer.fail(int(pos), hint, format, args...)
}

// unexpected throws an error at the next token.
func (p *parser) unexpected(hint string, expected ...string) {
	e := &ParseError{
		Pos: Pos(p.tok.pos), Msg: "syntax error: unexpected " + p.tok.describe(), Expected: expected, Hint: hint,
	}
	if hint == "" && p.tok.kind == tokKeyword {
		e.Hint = p.tok.text + " is a reserved word"
	}
	panic(e)
}

// at tells that the next token is that operator or bracket.
func (p *parser) at(op string) bool { return p.tok.kind == tokOp && p.tok.text == op }

// atWord tells that the next token is that keyword.
func (p *parser) atWord(word string) bool { return p.tok.kind == tokKeyword && p.tok.text == word }

// accept steps over an operator or bracket if it comes next.
func (p *parser) accept(op string) bool {
	if p.at(op) {
		p.advance()
		return true
	}
	return false
}

// acceptWord steps over a keyword if it comes next.
func (p *parser) acceptWord(word string) bool {
	if p.atWord(word) {
		p.advance()
		return true
	}
	return false
}

// expect steps over an operator or bracket that must come next.
func (p *parser) expect(op, hint string) token {
	if !p.at(op) {
		p.unexpected(hint, op)
	}
	return p.advance()
}

// ident reads a name.
func (p *parser) ident(expected ...string) token {
	if p.tok.kind != tokIdent {
		p.unexpected("", append([]string{"IDENTIFIER"}, expected...)...)
	}
	return p.advance()
}

// str reads a string.
func (p *parser) str() string {
	if p.tok.kind != tokString {
		hint := ""
		if p.tok.kind == tokIdent || p.tok.kind == tokNumber {
			hint = "put the value in double quotes"
		}
		p.unexpected(hint, "STRING")
	}
	return p.advance().text
}

// end makes sure that nothing is left.
func (p *parser) end() {
	if p.tok.kind == tokEnd {
		return
	}
	hint := ""
	switch {
	case p.tok.kind == tokRange:
		hint = "a range needs a function around it, such as rate(...[5m])"
	case p.atWord("offset"):
		hint = "put the offset right behind the range: [5m] offset 1m"
	case p.at(")"):
		hint = "there is no parenthesis to close"
	case p.atWord("by"), p.atWord("without"):
		hint = "an aggregation has one grouping"
	}
	p.unexpected(hint)
}

// enter counts a level of recursion, leave takes it back. Each level of the tree takes at most two
// levels here, so all trees that are not too deep can be printed and parsed again.
func (p *parser) enter() {
	if p.depth++; p.depth > 3*maxDepth {
		p.tooDeep(Pos(p.tok.pos))
	}
}

func (p *parser) leave() { p.depth-- }

func (p *parser) tooDeep(pos Pos) {
	p.fail(pos, "use a regular expression instead of a long chain", "the query nests deeper than %d levels", maxDepth)
}

// list reads "(", names that commas separate, ")".
func (p *parser) list() []string {
	p.expect("(", "")
	var names []string
	for !p.at(")") || names != nil {
		names = append(names, p.listed(names == nil))
		if !p.accept(",") {
			break
		}
	}
	if !p.at(")") {
		p.unexpected("", ",", ")")
	}
	p.advance()
	return names
}

func (p *parser) listed(first bool) string {
	if first {
		return p.ident(")").text
	}
	return p.ident().text
}
