package config

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"example.com/loki/limits"
)

func TestOTLPRules(t *testing.T) {
	file := filepath.Join(t.TempDir(), "runtime.yaml")
	text := "overrides:\n  a:\n    otlp_config: {scope_attributes: [{action: drop, regex: 'x.*'}]}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := load(t, `
distributor:
  otlp_config:
    default_resource_attributes_as_index_labels: [service.name]
limits_config:
  otlp_config:
    severity_text_as_label: true
    resource_attributes:
      ignore_defaults: true
      attributes_config:
        - action: index_label
          attributes: [service.name, host.name]
        - action: drop
          regex: process\..*
    log_attributes:
      - action: structured_metadata
        attributes: [a]
`, "-runtime-config.file", file)
	if err != nil {
		t.Fatal(err)
	}
	want := limits.OTLP{
		Labels: []string{"service.name"}, IgnoreLabels: true, SeverityTextAsLabel: true,
		Resource: []limits.OTLPRule{
			{Action: "index_label", Attributes: []string{"service.name", "host.name"}},
			{Action: "drop", Regex: `process\..*`},
		},
		Log: []limits.OTLPRule{{Action: "structured_metadata", Attributes: []string{"a"}}},
	}
	if !reflect.DeepEqual(c.Limits.OTLP, want) {
		t.Errorf("read %+v", c.Limits.OTLP)
	}
	if slices.ContainsFunc(c.Ignored, func(s string) bool { return strings.Contains(s, "otlp_config") }) {
		t.Errorf("in the warning: %v", c.Ignored)
	}
	printed, err := yaml.Marshal(c.Document())
	if err != nil {
		t.Fatal(err)
	}
	again, err := load(t, string(printed))
	if err != nil || !reflect.DeepEqual(again.Limits.OTLP, want) {
		t.Errorf("printed and read again: %v, %+v", err, again.Limits.OTLP)
	}
	o, err := c.Overrides()
	if err != nil {
		t.Fatal(err)
	}
	own := limits.OTLP{Labels: []string{"service.name"}, Scope: []limits.OTLPRule{{Action: "drop", Regex: "x.*"}}}
	if a := o.Limits("a").OTLP; !reflect.DeepEqual(a, own) {
		t.Errorf("of a tenant: %+v", a)
	}
	for text, want := range map[string]string{
		"log_attributes: [{action: index_label, attributes: [a]}]": "only attributes of resources can be labels",
		"scope_attributes: [{action: forget, attributes: [a]}]":    "forget",
		"scope_attributes: [{action: drop}]":                       "names no attributes",
		"scope_attributes: [{action: drop, regex: '('}]":           "missing closing",
		"resource_attributes: [{action: drop, attributes: [a]}]":   "cannot unmarshal",
		"resource_attributes: {atributes_config: []}":              "atributes_config",
	} {
		if _, err := load(t, "limits_config: {otlp_config: {"+text+"}}\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
