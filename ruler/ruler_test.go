package ruler_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/thanos-io/objstore"
	"google.golang.org/grpc"

	"example.com/loki/internal/wire/wiretest"
	"example.com/loki/ruler"
	"example.com/loki/ruler/rulertest"
	"example.com/loki/store"
)

func TestFake(t *testing.T) {
	rulertest.Contract(t, func(*testing.T) ruler.Service { return &rulertest.Fake{} })
}

func TestContractOverGRPC(t *testing.T) {
	rulertest.Contract(t, func(t *testing.T) ruler.Service {
		return ruler.NewClient(wiretest.Connect(t, func(r grpc.ServiceRegistrar) { ruler.RegisterServer(r, &rulertest.Fake{}) }))
	})
}

func TestBucketStore(t *testing.T) {
	files, err := store.NewFilesystemBucket(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, bucket := range map[string]objstore.Bucket{"files": files, "memory": objstore.NewInMemBucket()} {
		t.Run(name, func(t *testing.T) {
			s, ctx := ruler.NewBucketStore(bucket), t.Context()
			if ids, err := s.Tenants(ctx); err != nil || len(ids) != 0 {
				t.Fatalf("Tenants = %v, %v, want none", ids, err)
			}
			for i, id := range []string{"b", "a", "a"} {
				if err := s.SetGroup(ctx, id, rulertest.Example("ns", fmt.Sprint("g", i))); err != nil {
					t.Fatal(err)
				}
			}
			if ids, err := s.Tenants(ctx); err != nil || !reflect.DeepEqual(ids, []string{"a", "b"}) {
				t.Errorf("Tenants = %v, %v, want a and b", ids, err)
			}
			groups, err := s.Groups(ctx, "a", "")
			if err != nil || len(groups) != 2 || groups[1].Name != "g2" {
				t.Fatalf("Groups = %v, %v, want g1 and g2", groups, err)
			}
			// Another process writes.
			changed := groups[0]
			changed.Limit = 99
			if err := ruler.NewBucketStore(bucket).SetGroup(ctx, "a", changed); err != nil {
				t.Fatal(err)
			}
			if groups, err = s.Groups(ctx, "a", ""); err != nil || groups[0].Limit != 99 {
				t.Errorf("Groups = %v, %v; they do not have what another process has written", groups, err)
			}
			if err := s.DeleteNamespace(ctx, "a", "ns"); err != nil {
				t.Fatal(err)
			}
			if ids, err := s.Tenants(ctx); err != nil || !reflect.DeepEqual(ids, []string{"b"}) {
				t.Errorf("Tenants = %v, %v, want b", ids, err)
			}
		})
	}
}

func TestLocalStore(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	const rules = `
groups:
  - name: two
    rules: [{record: m, expr: 'rate({a="b"}[1m])'}]
  - name: one
    rules: []
`
	write("shop/web.yaml", rules)
	write("shop/.hidden", "no rules")
	s, ctx := ruler.NewLocalStore(dir), t.Context()
	if ids, err := s.Tenants(ctx); err != nil || !reflect.DeepEqual(ids, []string{"shop"}) {
		t.Errorf("Tenants = %v, %v", ids, err)
	}
	groups, err := s.Groups(ctx, "shop", "")
	if err != nil || len(groups) != 2 || groups[0].Name != "one" || groups[1].Namespace != "web.yaml" {
		t.Errorf("Groups = %v, %v, want one and two", groups, err)
	}
	if g, err := s.Group(ctx, "shop", "web.yaml", "two"); err != nil || g.Rules[0].Record != "m" {
		t.Errorf("Group = %v, %v", g, err)
	}
	if _, err := s.Groups(ctx, "../shop", ""); err != nil {
		t.Errorf("a name that leads elsewhere gives %v", err)
	}
	for _, err := range []error{s.SetGroup(ctx, "shop", groups[0]), s.DeleteGroup(ctx, "shop", "web.yaml", "two"), s.DeleteNamespace(ctx, "shop", "web.yaml")} {
		if !errors.Is(err, ruler.ErrReadOnly) {
			t.Errorf("a change gives %v, want %v", err, ruler.ErrReadOnly)
		}
	}
	write("shop/broken.yaml", "groups:\n  - name: x\n    rules: [{record: m, expr: 'rate({a=\"b\"}[1m'}]\n")
	if _, err := s.Groups(ctx, "shop", ""); !errors.Is(err, ruler.ErrInvalid) || !strings.Contains(err.Error(), "broken.yaml: line 3: group \"x\", rule 1 (m): expr:") {
		t.Errorf("a broken file gives %v", err)
	}
}

// TestProblems holds what is said of rules that can't be taken: all of it, with the place.
func TestProblems(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"empty":        {"", []string{"the document is empty"}},
		"not YAML":     {"groups:\n  - name: [", []string{"line 2: not valid YAML: did not find expected node content"}},
		"no mapping":   {"- a", []string{`line 1: expected fields as "name: value"`}},
		"unknown":      {"groups: []\ngruops: []", []string{"line 2: field gruops is not known here"}},
		"no name":      {"groups:\n  - rules: []", []string{"line 2: a group needs a name"}},
		"same name":    {"groups:\n  - name: a\n  - name: a", []string{`group "a": there is another group of this name`}},
		"twice":        {"groups:\n  - name: a\n    limit: 1\n    limit: 2", []string{`line 4: group "a": limit is there twice`}},
		"bad interval": {"groups:\n  - name: a\n    interval: soon", []string{`line 3: group "a": interval: "soon" is not a duration; write 90s, 10m or 1h30m`}},
		"rules": {`groups:
  - name: g
    rules:
      - alert: A
        record: r
        expr: vector(1)
      - expr: vector(1)
      - record: bad name
        for: 1m
        expr: vector(1)
      - alert: B
      - alert: C
        labels: {bad-name: x}
        expr: |
          sum(
            rate({a="b"}[5m]) +
          )
      - alert: D
        expr: '{a="b"}'
        summary: x
`, []string{
			`line 5: group "g", rule 1 (r): a rule is either an alert or a recording: only one of alert and record can be there`,
			`line 7: group "g", rule 2: a rule needs a name: alert or record`,
			`line 8: group "g", rule 3 (bad name): record: "bad name" can't be the name of a metric`,
			`line 9: group "g", rule 3 (bad name): for has no meaning in a recording rule`,
			`line 11: group "g", rule 4 (B): a rule needs an expr`,
			`line 13: group "g", rule 5 (C): labels: "bad-name" can't be a name`,
			`line 17: group "g", rule 5 (C): expr: parse error at line 3, col 1: `,
			`line 20: group "g", rule 6 (D): field summary is not known here`,
			`line 19: group "g", rule 6 (D): expr: a rule needs numbers, and this is a query for lines; count them, as in count_over_time({a="b"} [5m])`,
		}},
	} {
		_, err := ruler.ParseFile("ns", []byte(c.text))
		var invalid *ruler.InvalidError
		if !errors.As(err, &invalid) || !errors.Is(err, ruler.ErrInvalid) || len(invalid.Problems) != len(c.want) {
			t.Errorf("%s: got\n%v\nwant\n%s", name, err, strings.Join(c.want, "\n"))
			continue
		}
		for i, p := range invalid.Problems {
			if !strings.HasPrefix(p.String(), c.want[i]) {
				t.Errorf("%s: got  %s\nwant %s", name, p, c.want[i])
			}
		}
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add("groups:\n  - name: a\n    rules: [{alert: A, expr: 'rate({a=\"b\"}[1m]) > 1', for: 5m, labels: {a: b}}]")
	f.Add("groups: &a [{name: x, rules: [{record: y, expr: vector(1)}]}, *a]")
	f.Fuzz(func(t *testing.T, text string) {
		groups, err := ruler.ParseFile("ns", []byte(text))
		if err != nil {
			return
		}
		for _, g := range groups {
			again, err := ruler.ParseGroup("ns", ruler.FormatGroup(g))
			if err != nil {
				t.Fatalf("what was read can't be read again: %v\n%s", err, ruler.FormatGroup(g))
			}
			if string(ruler.FormatGroup(again)) != string(ruler.FormatGroup(g)) {
				t.Fatalf("a group changes when it is written and read")
			}
		}
	})
}
