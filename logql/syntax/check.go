package syntax

import (
	"errors"
	"fmt"
	"strings"

	"github.com/grafana/regexp/syntax"
	"github.com/prometheus/prometheus/model/labels"
)

// check makes sure that each selector of e restricts what is selected and that e isn't too deep.
func (p *parser) check(e Expr) {
	depth := 0
	Walk(e, func(n Node) bool {
		if n == nil {
			depth--
			return false
		}
		if depth++; depth > maxDepth {
			p.tooDeep(n.Position())
		}
		if log, ok := n.(*LogExpr); ok && !selective(log.Matchers) {
			p.fail(log.Pos, "", "queries require at least one regexp or equality matcher that does not have an empty-compatible value. For instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will")
		}
		return true
	})
}

// selective tells that some matcher does not match the empty value, which all streams without the
// label have.
func selective(ms []*labels.Matcher) bool {
	for _, m := range ms {
		if !m.Matches("") {
			return true
		}
	}
	return false
}

// checkStage throws what is wrong with a stage, if anything.
func (p *parser) checkStage(s Stage, err error) {
	if err == nil {
		return
	}
	p.fail(s.Position(), regexpHint(err), "stage '%s' : %v", s, err)
}

func (p *parser) checkLineFilter(f *LineFilter) {
	for _, o := range f.Operands {
		p.checkStage(f, p.checkOperand(f.Op, o))
	}
}

func (p *parser) checkOperand(op LineFilterOp, o LineOperand) error {
	var err error
	switch {
	case o.IP && op != LineContains && op != LineNotContains:
		err = errors.New("ip: invalid operation")
	case o.IP:
		_, err = ParseIPRange(o.Text)
	case op == LineMatches || op == LineNotMatches:
		err = p.checkRegexp(o.Text)
	case op == LinePattern || op == LineNotPattern:
		_, err = ParseLinePattern(o.Text)
	}
	return err
}

func (p *parser) checkIPFilter(stage Pos, f *IPFilter) {
	_, err := ParseIPRange(f.Range)
	p.checkStage(&LabelFilterStage{Pos: stage, Filter: f}, err)
}

func (p *parser) checkJSON(s *JSONStage) {
	for _, x := range s.Fields {
		_, err := ParsePath(x.Expression)
		p.checkStage(s, err)
	}
}

func (p *parser) checkLogfmt(s *LogfmtStage) {
	for _, x := range s.Fields {
		if !validName(x.Expression) {
			p.fail(s.Pos, "write other characters of the key as _", "stage '%s' : cannot parse expression [%s]: not a name", s, x.Expression)
		}
	}
}

func (p *parser) checkPattern(s *PatternStage) {
	if _, err := ParsePattern(s.Pattern); err != nil {
		p.fail(s.Pos, `a pattern looks like "<ip> - <_> <status>"`, "invalid pattern parser: %v", err)
	}
}

func (p *parser) checkRegexpStage(s *RegexpStage) {
	if err := p.checkRegexp(s.Regexp); err != nil {
		p.fail(s.Pos, regexpHint(err), "invalid regexp parser: %v", err)
	}
	re, _ := syntax.Parse(s.Regexp, syntax.Perl)
	named := make(map[string]bool)
	for _, n := range re.CapNames() {
		if n == "" {
			continue
		}
		if named[n] {
			p.fail(s.Pos, "give each group its own name", "invalid regexp parser: duplicate extracted label name '%s'", n)
		}
		named[n] = true
		if !validName(n) {
			p.fail(s.Pos, "", "invalid regexp parser: invalid extracted label name '%s'", n)
		}
	}
	if len(named) == 0 {
		p.fail(s.Pos, "write (?P<name>...)", "invalid regexp parser: at least one named capture must be supplied")
	}
}

func (p *parser) checkLabelFormat(s *LabelFormatStage) {
	seen := make(map[string]bool, len(s.Formats))
	for _, f := range s.Formats {
		if f.Name == "__error__" {
			p.checkStage(s, errors.New("__error__ cannot be formatted"))
		}
		if seen[f.Name] {
			p.checkStage(s, fmt.Errorf("multiple label name '%s' not allowed in a single format operation", f.Name))
		}
		seen[f.Name] = true
	}
}

// checkRegexp tells what is wrong with a regular expression. It does not build the program, but
// takes account of how large it would be.
func (p *parser) checkRegexp(text string) error {
	size := len(text)
	re, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return err
	}
	if strings.Contains(text, "{") {
		size = regexpSize(re)
	}
	if p.regexps += size; p.regexps > maxRegexps {
		return fmt.Errorf("regular expressions are too large: repetitions expand to more than %d instructions", maxRegexps)
	}
	return nil
}

// regexpSize estimates the instructions of a program. Repetitions are what makes a short regular
// expression a large program.
func regexpSize(re *syntax.Regexp) int {
	size := max(1, len(re.Rune))
	if re.Op == syntax.OpCharClass {
		size = 1
	}
	for _, sub := range re.Sub {
		size += regexpSize(sub)
	}
	if re.Op == syntax.OpRepeat {
		size *= max(re.Min, re.Max, 1)
	}
	return size
}

// regexpHint explains what RE2 lacks.
func regexpHint(err error) string {
	msg := err.Error()
	switch {
	case strings.Contains(msg, "Perl syntax"):
		return "RE2 has no look-around: use another filter instead"
	case strings.Contains(msg, "invalid escape sequence: `\\") && strings.ContainsAny(msg[len(msg)-2:], "123456789"):
		return "RE2 has no back-references"
	}
	return ""
}

// validName tells that s can be the name of a label: ASCII letters, digits and _, no digit first.
func validName(s string) bool {
	return s != "" && !isDigit(s[0]) && wordEnd(s, 0) == len(s)
}
