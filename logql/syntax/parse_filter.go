package syntax

import (
	"github.com/prometheus/prometheus/model/labels"
)

// labelFilter reads a condition. Conjunctions bind tighter than or. stage is where the stage begins.
func (p *parser) labelFilter(stage Pos) LabelFilter {
	p.enter()
	defer p.leave()
	f := p.conjunction(stage)
	for p.acceptWord("or") {
		f = &OrFilter{Left: f, Right: p.conjunction(stage)}
	}
	return f
}

// conjunction reads conditions with "and", a comma or nothing between them.
func (p *parser) conjunction(stage Pos) LabelFilter {
	f := p.condition(stage)
	for {
		if !p.acceptWord("and") && !p.accept(",") && p.tok.kind != tokIdent && !p.at("(") {
			return f
		}
		f = &AndFilter{Left: f, Right: p.condition(stage)}
	}
}

// condition reads one comparison or what is in parentheses.
func (p *parser) condition(stage Pos) LabelFilter {
	if p.at("(") {
		p.advance()
		f := p.labelFilter(stage)
		if !p.at(")") {
			p.unexpected("", ")")
		}
		p.advance()
		return f
	}
	name := p.ident("(")
	op := p.tok
	if typ, ok := p.matchType(); ok {
		p.advance()
		switch p.tok.kind {
		case tokString:
			return &MatchFilter{Pos: Pos(name.pos), Matcher: p.newMatcher(typ, name, p.advance().text)}
		case tokFunc:
			if p.tok.text == "ip" && (typ == labels.MatchEqual || typ == labels.MatchNotEqual) {
				f := &IPFilter{Pos: Pos(name.pos), Name: name.text}
				if typ == labels.MatchNotEqual {
					f.Op = OpNotEqual
				}
				f.Range = p.ip()
				p.checkIPFilter(stage, f)
				return f
			}
		}
		if typ == labels.MatchRegexp || typ == labels.MatchNotRegexp {
			p.unexpected("put the regular expression in double quotes", "STRING")
		}
	} else if !p.at("==") && !p.at(">") && !p.at(">=") && !p.at("<") && !p.at("<=") {
		hint := ""
		if p.tok.kind == tokEnd || p.at("|") {
			hint = name.text + " is no stage; a label filter needs an operator and a value"
		}
		p.unexpected(hint, "=", "!=", "=~", "!~", "==", ">", ">=", "<", "<=")
	} else {
		p.advance()
	}
	return p.comparison(name, op.text)
}

// comparison reads the right side of a comparison with a number, a duration or a size.
func (p *parser) comparison(name token, opText string) LabelFilter {
	var op CompareOp
	switch opText {
	case "!=":
		op = OpNotEqual
	case ">":
		op = OpGreater
	case ">=":
		op = OpGreaterEqual
	case "<":
		op = OpLess
	case "<=":
		op = OpLessEqual
	}
	pos := Pos(name.pos)
	sign := 1
	if p.at("-") || p.at("+") {
		if p.advance().text == "-" {
			sign = -1
		}
	}
	switch p.tok.kind {
	case tokNumber:
		return &NumberFilter{Pos: pos, Name: name.text, Op: op, Value: float64(sign) * p.advance().num}
	case tokDuration:
		d := p.advance().dur
		if sign < 0 {
			d = -d
		}
		return &DurationFilter{Pos: pos, Name: name.text, Op: op, Value: d}
	case tokBytes:
		if sign > 0 {
			return &BytesFilter{Pos: pos, Name: name.text, Op: op, Value: p.advance().size}
		}
	}
	expected := []string{"NUMBER", "DURATION", "BYTES"}
	if opText == "=" || opText == "!=" {
		expected = append([]string{"STRING"}, append(expected, "ip")...)
	}
	hint := ""
	switch {
	case p.tok.kind == tokIdent:
		hint = "put the value in double quotes"
	case p.tok.kind == tokString:
		hint = "compare text with =, !=, =~ or !~; numbers, durations and sizes are not quoted"
	case p.tok.kind == tokFunc:
		hint = "ip() goes with = and != only"
	}
	p.unexpected(hint, expected...)
	return nil
}
