package config

import (
	"fmt"
	"reflect"
	"regexp"

	"gopkg.in/yaml.v3"

	"example.com/loki/limits"
)

// otlpRule is a rule as the file has it.
type otlpRule struct {
	Action     string   `yaml:"action"`
	Attributes []string `yaml:"attributes,omitempty"`
	Regex      string   `yaml:"regex,omitempty"`
}

// otlpFile is limits_config.otlp_config.
type otlpFile struct {
	Resource struct {
		IgnoreDefaults bool       `yaml:"ignore_defaults,omitempty"`
		Rules          []otlpRule `yaml:"attributes_config,omitempty"`
	} `yaml:"resource_attributes,omitempty"`
	Scope      []otlpRule `yaml:"scope_attributes,omitempty"`
	Log        []otlpRule `yaml:"log_attributes,omitempty"`
	SeverityAs bool       `yaml:"severity_text_as_label,omitempty"`
}

// otlpRules is all of limits.OTLP but the labels by default.
func otlpRules(p *limits.OTLP) value {
	return node("block",
		func() bool { return reflect.DeepEqual(*p, limits.OTLP{Labels: p.Labels}) },
		func(n *yaml.Node) error {
			var file otlpFile
			if err := decodeStrictly(n, &file); err != nil {
				return err
			}
			out := limits.OTLP{Labels: p.Labels, IgnoreLabels: file.Resource.IgnoreDefaults, SeverityTextAsLabel: file.SeverityAs}
			for _, part := range []struct {
				name   string
				rules  []otlpRule
				into   *[]limits.OTLPRule
				labels bool
			}{
				{"resource_attributes", file.Resource.Rules, &out.Resource, true},
				{"scope_attributes", file.Scope, &out.Scope, false},
				{"log_attributes", file.Log, &out.Log, false},
			} {
				for i, r := range part.rules {
					if err := r.check(part.labels); err != nil {
						return fmt.Errorf("rule %d of %s: %w", i+1, part.name, err)
					}
					*part.into = append(*part.into, limits.OTLPRule(r))
				}
			}
			*p = out
			return nil
		},
		func() *yaml.Node {
			var file otlpFile
			file.Resource.IgnoreDefaults, file.SeverityAs = p.IgnoreLabels, p.SeverityTextAsLabel
			for _, part := range []struct {
				rules []limits.OTLPRule
				into  *[]otlpRule
			}{{p.Resource, &file.Resource.Rules}, {p.Scope, &file.Scope}, {p.Log, &file.Log}} {
				for _, r := range part.rules {
					*part.into = append(*part.into, otlpRule(r))
				}
			}
			n := new(yaml.Node)
			_ = n.Encode(file) // texts and truth values
			return n
		})
}

// check tells what is wrong with a rule.
func (r otlpRule) check(labels bool) error {
	switch r.Action {
	case limits.OTLPMetadata, limits.OTLPDrop:
	case limits.OTLPLabel:
		if !labels {
			return fmt.Errorf("only attributes of resources can be labels: the action is %s or %s", limits.OTLPMetadata, limits.OTLPDrop)
		}
	default:
		return fmt.Errorf("the action %q is not one of %s, %s, %s", r.Action, limits.OTLPLabel, limits.OTLPMetadata, limits.OTLPDrop)
	}
	if len(r.Attributes) == 0 && r.Regex == "" {
		return fmt.Errorf("it names no attributes; give it attributes or a regex")
	}
	if _, err := regexp.Compile(r.Regex); err != nil {
		return err
	}
	return nil
}
