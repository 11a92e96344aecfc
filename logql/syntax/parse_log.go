package syntax

import (
	"github.com/prometheus/prometheus/model/labels"
)

// log reads a selector and its pipeline.
func (p *parser) log() *LogExpr {
	e := p.selector()
	e.Stages = p.pipeline(nil)
	return e
}

// selector reads {name="value", ...}.
func (p *parser) selector() *LogExpr {
	e := &LogExpr{Pos: Pos(p.expect("{", "").pos)}
	if p.accept("}") {
		return e
	}
	for first := true; ; first = false {
		if p.tok.kind != tokIdent {
			p.selectorName(first)
		}
		name := p.advance()
		e.Matchers = append(e.Matchers, p.matcher(name))
		if p.accept("}") {
			return e
		}
		if !p.accept(",") {
			hint := ""
			if p.tok.kind == tokEnd {
				hint = `close the selector with "}"`
			}
			p.unexpected(hint, "}", ",")
		}
	}
}

// selectorName throws the error for what is no name in a selector.
func (p *parser) selectorName(first bool) {
	expected := []string{"IDENTIFIER"}
	if first {
		expected = append(expected, "}")
	}
	hint := ""
	switch {
	case p.tok.kind == tokString:
		hint = "names of labels are not quoted"
	case p.at("}"):
		hint = "remove the last comma"
	case p.tok.kind == tokNumber, p.tok.kind == tokDuration, p.tok.kind == tokBytes:
		hint = "names begin with a letter or _"
	}
	p.unexpected(hint, expected...)
}

// matcher reads the operator and the value that follow a name.
func (p *parser) matcher(name token) *labels.Matcher {
	typ, ok := p.matchType()
	if !ok {
		hint := ""
		switch {
		case p.at("-"), p.at("."):
			hint = "names consist of ASCII letters, digits and _"
		case p.at("=="):
			hint = "labels are compared with ="
		case p.at(">"), p.at("<"), p.at(">="), p.at("<="):
			hint = "compare numbers in a label filter behind the selector"
		}
		p.unexpected(hint, "=", "=~", "!~", "!=")
	}
	p.advance()
	return p.newMatcher(typ, name, p.str())
}

func (p *parser) newMatcher(typ labels.MatchType, name token, value string) *labels.Matcher {
	var m *labels.Matcher
	var err error
	if typ == labels.MatchRegexp || typ == labels.MatchNotRegexp {
		err = p.checkRegexp(value)
	}
	if err == nil {
		m, err = labels.NewMatcher(typ, name.text, value)
	}
	if err != nil {
		p.fail(Pos(name.pos), regexpHint(err), "%v", err)
	}
	return m
}

// matchType tells which matcher the next token makes.
func (p *parser) matchType() (labels.MatchType, bool) {
	if p.tok.kind != tokOp {
		return 0, false
	}
	switch p.tok.text {
	case "=":
		return labels.MatchEqual, true
	case "!=":
		return labels.MatchNotEqual, true
	case "=~":
		return labels.MatchRegexp, true
	case "!~":
		return labels.MatchNotRegexp, true
	}
	return 0, false
}

// pipeline reads stages. If unwrap isn't nil the pipeline may have an unwrap, which ends it; *unwrap
// is set then.
func (p *parser) pipeline(unwrap **Unwrap) (stages []Stage) {
	for p.tok.kind == tokOp {
		switch op, ok := p.lineFilterOp(); {
		case ok:
			stages = append(stages, p.lineFilter(op))
		case p.at("|"):
			pos := Pos(p.advance().pos)
			if p.atWord("unwrap") && unwrap != nil {
				*unwrap = p.unwrap(pos)
				return stages
			}
			stages = append(stages, p.stage(pos))
		default:
			return stages
		}
	}
	return stages
}

func (p *parser) lineFilterOp() (LineFilterOp, bool) {
	switch p.tok.text {
	case "|=":
		return LineContains, true
	case "!=":
		return LineNotContains, true
	case "|~":
		return LineMatches, true
	case "!~":
		return LineNotMatches, true
	case "|>":
		return LinePattern, true
	case "!>":
		return LineNotPattern, true
	}
	return 0, false
}

func (p *parser) lineFilter(op LineFilterOp) *LineFilter {
	f := &LineFilter{Pos: Pos(p.advance().pos), Op: op}
	for {
		switch {
		case p.tok.kind == tokString:
			f.Operands = append(f.Operands, LineOperand{Text: p.advance().text})
		case p.tok.kind == tokFunc && p.tok.text == "ip":
			f.Operands = append(f.Operands, LineOperand{Text: p.ip(), IP: true})
		default:
			hint := ""
			if p.tok.kind == tokIdent || p.tok.kind == tokNumber {
				hint = "put the text in double quotes"
			}
			p.unexpected(hint, "STRING", "ip")
		}
		if !p.acceptWord("or") {
			break
		}
	}
	p.checkLineFilter(f)
	return f
}

// ip reads ip("...").
func (p *parser) ip() string {
	p.advance()
	p.expect("(", "")
	text := p.str()
	p.expect(")", "")
	return text
}

// stage reads what follows a "|" at pos.
func (p *parser) stage(pos Pos) Stage {
	if p.tok.kind == tokIdent || p.at("(") {
		return &LabelFilterStage{Pos: pos, Filter: p.labelFilter(pos)}
	}
	if p.tok.kind != tokKeyword {
		p.noStage()
	}
	switch word := p.advance(); word.text {
	case "json":
		s := &JSONStage{Pos: pos, Fields: p.extractions()}
		p.checkJSON(s)
		return s
	case "logfmt":
		s := &LogfmtStage{Pos: pos}
		for p.tok.kind == tokFlag {
			if p.advance().text == "strict" {
				s.Strict = true
			} else {
				s.KeepEmpty = true
			}
		}
		s.Fields = p.extractions()
		p.checkLogfmt(s)
		return s
	case "pattern":
		s := &PatternStage{Pos: pos, Pattern: p.str()}
		p.checkPattern(s)
		return s
	case "regexp":
		s := &RegexpStage{Pos: pos, Regexp: p.str()}
		p.checkRegexpStage(s)
		return s
	case "unpack":
		return &UnpackStage{Pos: pos}
	case "decolorize":
		return &DecolorizeStage{Pos: pos}
	case "line_format":
		return &LineFormatStage{Pos: pos, Template: p.str()}
	case "label_format":
		s := &LabelFormatStage{Pos: pos, Formats: p.labelFormats()}
		p.checkLabelFormat(s)
		return s
	case "drop":
		return &DropStage{Pos: pos, Labels: p.labelSelectors()}
	case "keep":
		return &KeepStage{Pos: pos, Labels: p.labelSelectors()}
	default:
		p.tok, p.pos = word, word.end // throw at the word
		p.noStage()
		return nil
	}
}

// noStage throws the error for what begins no stage.
func (p *parser) noStage() {
	hint := ""
	switch {
	case p.atWord("unwrap"):
		hint = "unwrap belongs into a range function, such as sum_over_time(... | unwrap x [5m])"
	case p.tok.kind == tokString:
		hint = "a line filter has an operator such as |="
	case p.tok.kind == tokFunc:
		hint = "functions stand around a query, not behind it"
	}
	p.unexpected(hint, "a parser", "a label filter", "a formatter")
}

// extractions reads the parameters of json and logfmt, which may be none.
func (p *parser) extractions() []Extraction {
	var list []Extraction
	for list != nil || p.tok.kind == tokIdent {
		name := p.ident()
		x := Extraction{Name: name.text, Expression: name.text}
		if p.accept("=") {
			x.Expression = p.str()
		}
		list = append(list, x)
		if !p.accept(",") {
			break
		}
	}
	return list
}

func (p *parser) labelFormats() []LabelFormat {
	var list []LabelFormat
	for {
		f := LabelFormat{Name: p.ident().text}
		p.expect("=", "")
		switch p.tok.kind {
		case tokIdent:
			f.Rename = p.advance().text
		case tokString:
			f.Template = p.advance().text
		default:
			p.unexpected("", "IDENTIFIER", "STRING")
		}
		list = append(list, f)
		if !p.accept(",") {
			return list
		}
	}
}

// labelSelectors reads the parameters of drop and keep.
func (p *parser) labelSelectors() []LabelSelector {
	var list []LabelSelector
	for {
		if p.tok.kind == tokString {
			p.unexpected("names of labels are not quoted", "IDENTIFIER")
		}
		name := p.ident()
		s := LabelSelector{Name: name.text}
		if typ, ok := p.matchType(); ok {
			// "drop a != "x"" is a matcher, not a line filter.
			p.advance()
			s.Matcher = p.newMatcher(typ, name, p.str())
		}
		list = append(list, s)
		if !p.accept(",") {
			return list
		}
	}
}

// unwrap reads what follows the "|" at pos: the unwrap and the label filters behind it.
func (p *parser) unwrap(pos Pos) *Unwrap {
	p.advance()
	u := &Unwrap{Pos: pos}
	if p.tok.kind == tokFunc {
		switch p.tok.text {
		case "bytes":
			u.Convert = UnwrapBytes
		case "duration":
			u.Convert = UnwrapDuration
		case "duration_seconds":
			u.Convert = UnwrapDurationSeconds
		default:
			p.unexpected("conversions are bytes, duration and duration_seconds", "IDENTIFIER")
		}
		p.advance()
		p.expect("(", "")
		u.Label = p.ident().text
		p.expect(")", "")
	} else {
		u.Label = p.ident("bytes", "duration", "duration_seconds").text
		if p.at("(") {
			p.unexpected("conversions are bytes, duration and duration_seconds", "RANGE", "|")
		}
	}
	for p.at("|") {
		bar := Pos(p.advance().pos)
		if p.tok.kind != tokIdent && !p.at("(") {
			p.unexpected("only label filters may follow an unwrap", "IDENTIFIER", "(")
		}
		u.Filters = append(u.Filters, p.labelFilter(bar))
	}
	return u
}
