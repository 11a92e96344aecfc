package ruler

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"gopkg.in/yaml.v3"

	"example.com/loki/logql/syntax"
)

// ParseFile reads a file of rule groups as Prometheus has them:
//
//	groups:
//	  - name: web
//	    rules:
//	      - alert: Errors
//	        expr: sum(rate({app="web"} |= "error" [5m])) > 10
//	        for: 10m
//
// All of its groups belong to the namespace. The error is an *InvalidError with everything that is wrong.
// Templates are not looked into.
func ParseFile(namespace string, text []byte) ([]Group, error) {
	p := &parser{namespace: namespace}
	root, ok := p.document(text)
	if !ok {
		return nil, p.err()
	}
	var groups []Group
	p.fields(root, "", func(key string, n *yaml.Node) bool {
		switch key {
		case "groups":
			p.sequence(n, key, func(n *yaml.Node) { groups = append(groups, p.group(n)) })
		case "namespace": // lokitool writes it into its files
		default:
			return false
		}
		return true
	})
	seen := map[string]bool{}
	for i := range groups {
		if g := &groups[i]; g.Name != "" && seen[g.Name] {
			p.problems = append(p.problems, Problem{Group: g.Name, Text: "there is another group of this name"})
		}
		seen[groups[i].Name] = true
	}
	return groups, p.err()
}

// ParseGroup reads one group, as the API takes it.
func ParseGroup(namespace string, text []byte) (Group, error) {
	p := &parser{namespace: namespace}
	root, ok := p.document(text)
	if !ok {
		return Group{}, p.err()
	}
	g := p.group(root)
	return g, p.err()
}

// Check returns what ParseGroup would say of a group that was put together by hand.
func (g *Group) Check() error {
	again, err := ParseGroup(g.Namespace, FormatGroup(*g))
	var invalid *InvalidError
	if errors.As(err, &invalid) { // lines of a text that nobody has seen are of no use
		for i := range invalid.Problems {
			p := &invalid.Problems[i]
			if p.Line = 0; p.Rule > 0 && p.Rule <= len(g.Rules) {
				p.Line = g.Rules[p.Rule-1].Line
			}
		}
		return err
	}
	if err == nil && len(again.Rules) != len(g.Rules) {
		return fmt.Errorf("%w: group %q can't be written down", ErrInvalid, g.Name)
	}
	return err
}

type parser struct {
	namespace string
	group_    string // the one being read
	rule      int
	ruleName  string
	nodes     int
	problems  []Problem
}

// maxNodes bounds what aliases can blow a document up to.
const maxNodes = 1_000_000

func (p *parser) err() error {
	if len(p.problems) == 0 {
		return nil
	}
	return &InvalidError{Problems: p.problems}
}

func (p *parser) fail(line int, format string, args ...any) {
	p.problems = append(p.problems, Problem{
		Line: line, Group: p.group_, Rule: p.rule, RuleName: p.ruleName, Text: fmt.Sprintf(format, args...),
	})
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)

func (p *parser) document(text []byte) (*yaml.Node, bool) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		line, msg := 0, strings.TrimPrefix(err.Error(), "yaml: ")
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			line, _ = strconv.Atoi(m[1]) // digits
			msg = err.Error()[len(m[0]):]
		}
		p.fail(line, "not valid YAML: %s", msg)
		return nil, false
	}
	if len(doc.Content) == 0 {
		p.fail(0, "the document is empty")
		return nil, false
	}
	return doc.Content[0], true
}

// resolve follows aliases.
func (p *parser) resolve(n *yaml.Node) *yaml.Node {
	if p.nodes++; p.nodes > maxNodes {
		if p.nodes == maxNodes+1 {
			p.fail(n.Line, "the document is too large, or its aliases make it so")
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: n.Line}
	}
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// fields calls f for each key of a mapping; f tells whether it knows it.
func (p *parser) fields(n *yaml.Node, what string, f func(key string, n *yaml.Node) bool) {
	n = p.resolve(n)
	if n.Kind != yaml.MappingNode {
		p.fail(n.Line, "%sexpected fields as \"name: value\"", prefix(what))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if seen[key.Value] {
			p.fail(key.Line, "%s is there twice", key.Value)
			continue
		}
		seen[key.Value] = true
		if !f(key.Value, p.resolve(n.Content[i+1])) {
			p.fail(key.Line, "field %s is not known here", key.Value)
		}
	}
}

func prefix(what string) string {
	if what == "" {
		return ""
	}
	return what + ": "
}

func (p *parser) sequence(n *yaml.Node, what string, f func(*yaml.Node)) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.SequenceNode {
		p.fail(n.Line, "%s: expected a list", what)
		return
	}
	for _, e := range n.Content {
		f(p.resolve(e))
	}
}

func (p *parser) text(n *yaml.Node, what string) string {
	if n.Kind != yaml.ScalarNode {
		p.fail(n.Line, "%s: expected text", what)
		return ""
	}
	if n.Tag == "!!null" {
		return ""
	}
	return n.Value
}

func (p *parser) duration(n *yaml.Node, what string) time.Duration {
	text := p.text(n, what)
	if text == "" {
		return 0
	}
	d, err := syntax.ParseDuration(text)
	if err != nil || d < 0 {
		p.fail(n.Line, "%s: %q is not a duration; write 90s, 10m or 1h30m", what, text)
		return 0
	}
	return d
}

func (p *parser) texts(n *yaml.Node, what string, valid func(string) bool) map[string]string {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return nil
	}
	m := map[string]string{}
	p.fields(n, what, func(key string, n *yaml.Node) bool {
		if !valid(key) {
			p.fail(n.Line, "%s: %q can't be a name", what, key)
		}
		m[key] = p.text(n, what+" "+key)
		if !model.LabelValue(m[key]).IsValid() {
			p.fail(n.Line, "%s: the value of %s is not valid UTF-8", what, key)
		}
		return true
	})
	return m
}

func validLabel(name string) bool {
	return model.LegacyValidation.IsValidLabelName(name) && name != model.MetricNameLabel
}

func (p *parser) group(n *yaml.Node) Group {
	g := Group{Namespace: p.namespace}
	p.group_, p.rule, p.ruleName = "", 0, ""
	if n.Kind == yaml.MappingNode { // so that all problems can say which group it is
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == "name" && n.Content[i+1].Kind == yaml.ScalarNode {
				p.group_ = n.Content[i+1].Value
			}
		}
	}
	p.fields(n, "", func(key string, v *yaml.Node) bool {
		switch key {
		case "name":
			g.Name = p.text(v, key)
		case "interval":
			g.Interval = p.duration(v, key)
		case "query_offset":
			d := p.duration(v, key)
			g.QueryOffset = &d
		case "limit":
			limit, err := strconv.Atoi(p.text(v, key))
			if err != nil || limit < 0 {
				p.fail(v.Line, "limit: expected a number from 0 on")
			}
			g.Limit = limit
		case "labels":
			g.Labels = p.texts(v, key, validLabel)
		case "rules":
			p.sequence(v, key, func(n *yaml.Node) {
				p.rule = len(g.Rules) + 1
				g.Rules = append(g.Rules, p.readRule(n))
				p.rule, p.ruleName = 0, ""
			})
		default:
			return false
		}
		return true
	})
	if g.Name == "" {
		p.fail(n.Line, "a group needs a name")
	}
	p.group_ = ""
	return g
}

func (p *parser) readRule(n *yaml.Node) Rule {
	r := Rule{Line: n.Line}
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if k := n.Content[i].Value; k == "alert" || k == "record" {
				p.ruleName = n.Content[i+1].Value
			}
		}
	}
	var expr *yaml.Node
	lines := map[string]int{}
	p.fields(n, "", func(key string, v *yaml.Node) bool {
		lines[key] = v.Line
		switch key {
		case "record":
			r.Record = p.text(v, key)
		case "alert":
			r.Alert = p.text(v, key)
		case "expr":
			expr, r.Expr = v, strings.TrimSpace(p.text(v, key))
		case "for":
			r.For = p.duration(v, key)
		case "keep_firing_for":
			r.KeepFiringFor = p.duration(v, key)
		case "labels":
			r.Labels = p.texts(v, key, validLabel)
		case "annotations":
			r.Annotations = p.texts(v, key, model.LegacyValidation.IsValidLabelName)
		default:
			return false
		}
		return true
	})
	switch {
	case r.Record == "" && r.Alert == "":
		p.fail(n.Line, "a rule needs a name: alert or record")
	case r.Record != "" && r.Alert != "":
		p.fail(lines["record"], "a rule is either an alert or a recording: only one of alert and record can be there")
	case r.Record != "":
		if !model.LegacyValidation.IsValidMetricName(r.Record) {
			p.fail(lines["record"], "record: %q can't be the name of a metric", r.Record)
		}
		for _, key := range []string{"for", "keep_firing_for", "annotations"} {
			if lines[key] > 0 {
				p.fail(lines[key], "%s has no meaning in a recording rule", key)
			}
		}
	}
	if r.Expr == "" {
		p.fail(n.Line, "a rule needs an expr")
	} else {
		p.expression(expr, r.Expr)
	}
	return r
}

// expression checks a query and says in which line of the document it is wrong.
func (p *parser) expression(n *yaml.Node, text string) {
	e, err := syntax.Parse(text)
	if err == nil {
		if _, ok := e.(syntax.MetricExpr); !ok {
			p.fail(n.Line, "expr: a rule needs numbers, and this is a query for lines; count them, as in count_over_time(%s [5m])", text)
		}
		return
	}
	line := n.Line
	var parse *syntax.ParseError
	if errors.As(err, &parse) && n.Style == yaml.LiteralStyle && parse.Line > 0 {
		line += parse.Line
	}
	p.fail(line, "expr: %v", err)
}
