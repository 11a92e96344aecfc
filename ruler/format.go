package ruler

import (
	"bytes"

	"github.com/prometheus/common/model"
	"gopkg.in/yaml.v3"
)

// document is a group as it is written.
type document struct {
	Name        string            `yaml:"name"`
	Interval    model.Duration    `yaml:"interval,omitempty"`
	QueryOffset *model.Duration   `yaml:"query_offset,omitempty"`
	Limit       int               `yaml:"limit,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	Rules       []ruleDocument    `yaml:"rules"`
}

type ruleDocument struct {
	Record        string            `yaml:"record,omitempty"`
	Alert         string            `yaml:"alert,omitempty"`
	Expr          string            `yaml:"expr"`
	For           model.Duration    `yaml:"for,omitempty"`
	KeepFiringFor model.Duration    `yaml:"keep_firing_for,omitempty"`
	Labels        map[string]string `yaml:"labels,omitempty"`
	Annotations   map[string]string `yaml:"annotations,omitempty"`
}

func toDocument(g Group) document {
	d := document{
		Name: g.Name, Interval: model.Duration(g.Interval), QueryOffset: (*model.Duration)(g.QueryOffset),
		Limit: g.Limit, Labels: g.Labels, Rules: make([]ruleDocument, len(g.Rules)),
	}
	for i, r := range g.Rules {
		d.Rules[i] = ruleDocument{
			Record: r.Record, Alert: r.Alert, Expr: r.Expr, For: model.Duration(r.For),
			KeepFiringFor: model.Duration(r.KeepFiringFor), Labels: r.Labels, Annotations: r.Annotations,
		}
	}
	return d
}

// FormatGroup writes a group as ParseGroup reads it. The namespace is not part of it.
func FormatGroup(g Group) []byte { return format(toDocument(g)) }

// FormatNamespaces writes groups by namespace, as the API lists them.
func FormatNamespaces(groups []Group) []byte {
	all := map[string][]document{}
	for _, g := range groups {
		all[g.Namespace] = append(all[g.Namespace], toDocument(g))
	}
	return format(all)
}

func format(v any) []byte {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	// Documents of text, numbers and maps can always be written, into memory too.
	_ = e.Encode(v)
	_ = e.Close()
	return b.Bytes()
}
