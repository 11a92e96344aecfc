package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/template"

	"example.com/loki/ruler"
)

// current gives the rules manager of a group what it evaluates.
type current struct{ g *group }

// Load implements rules.GroupLoader.
func (c current) Load(string, bool, model.ValidationScheme) (*rulefmt.RuleGroups, []error) {
	def := c.g.current()
	g := rulefmt.RuleGroup{
		Name: def.Name, Interval: model.Duration(def.Interval), QueryOffset: (*model.Duration)(def.QueryOffset),
		Limit: def.Limit, Labels: def.Labels,
	}
	for _, r := range def.Rules {
		g.Rules = append(g.Rules, rulefmt.Rule{
			Record: r.Record, Alert: r.Alert, Expr: r.Expr, For: model.Duration(r.For), KeepFiringFor: model.Duration(r.KeepFiringFor),
			Labels: r.Labels, Annotations: annotationsOf(&r),
		})
	}
	return &rulefmt.RuleGroups{Groups: []rulefmt.RuleGroup{g}}, nil
}

// Parse implements rules.GroupLoader.
func (current) Parse(query string) (parser.Expr, error) { return expr{query}, nil }

func annotationsOf(r *ruler.Rule) map[string]string {
	if r.Annotations == nil {
		return nil
	}
	all := make(map[string]string, len(r.Annotations))
	for name, text := range r.Annotations {
		all[name] = withLines(text)
	}
	return all
}

// checkTemplates returns what is wrong with the templates of a group.
func checkTemplates(g *ruler.Group) error {
	var problems []ruler.Problem
	for i := range g.Rules {
		r := &g.Rules[i]
		if r.Alert == "" {
			continue
		}
		check := func(kind string, texts map[string]string) {
			for _, name := range sortedKeys(texts) {
				if err := checkTemplate(r.Alert, texts[name]); err != nil {
					problems = append(problems, ruler.Problem{
						Line: r.Line, Group: g.Name, Rule: i + 1, RuleName: r.Alert, Text: fmt.Sprintf("%s %s: %v", kind, name, err),
					})
				}
			}
		}
		check("label", r.Labels)
		check("annotation", annotationsOf(r))
	}
	if len(problems) == 0 {
		return nil
	}
	return &ruler.InvalidError{Problems: problems}
}

func checkTemplate(alert, text string) error {
	const known = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}"
	data := template.AlertTemplateData(map[string]string{}, map[string]string{}, "", promql.Sample{})
	return template.NewTemplateExpander(context.Background(), known+text, "__alert_"+alert, data,
		model.TimeFromUnixNano(time.Now().UnixNano()), nil, nil, nil).ParseTest()
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
