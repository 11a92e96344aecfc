package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"example.com/loki/limits"
)

func TestBlockedQueries(t *testing.T) {
	file := filepath.Join(t.TempDir(), "runtime.yaml")
	text := "overrides:\n  a:\n    blocked_queries: [{pattern: '{app=\"x\"}'}]\n    required_labels: [env]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := load(t, `
limits_config:
  required_labels: [app, namespace]
  minimum_labels_number: 2
  blocked_queries:
    - pattern: '.*prod.*'
      regex: true
      types: metric, filter
    - hash: 2943214005
`, "-runtime-config.file", file)
	if err != nil {
		t.Fatal(err)
	}
	want := []limits.BlockedQuery{
		{Pattern: ".*prod.*", Regex: true, Types: []string{"metric", "filter"}},
		{Hash: 2943214005, Types: []string{}},
	}
	if l := c.Limits; !reflect.DeepEqual(l.BlockedQueries, want) || !reflect.DeepEqual(l.RequiredLabels, []string{"app", "namespace"}) || l.MinimumLabelsNumber != 2 {
		t.Errorf("limits %+v", l)
	}
	o, err := c.Overrides()
	if err != nil {
		t.Fatal(err)
	}
	if a := o.Limits("a"); len(a.BlockedQueries) != 1 || a.BlockedQueries[0].Pattern != `{app="x"}` || len(a.RequiredLabels) != 1 {
		t.Errorf("limits of a tenant: %+v", a)
	}
	for text, want := range map[string]string{
		"blocked_queries: [{pattern: '(', regex: true}]": "missing closing",
		"blocked_queries: [{types: everything}]":         "not one of the types",
		"blocked_queries: [{patern: x}]":                 "patern",
		"blocked_queries: [{}]":                          "block everything",
		"minimum_labels_number: few":                     "few",
	} {
		if _, err := load(t, "limits_config:\n  "+text+"\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
