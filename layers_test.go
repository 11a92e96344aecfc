package loki_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestLayers holds what packages may link. What a reason says is what an importer would lose.
func TestLayers(t *testing.T) {
	for _, c := range []struct {
		pattern string
		forbid  map[string]string // prefix of an import path: reason
	}{
		{".", map[string]string{
			"k8s.io/":                                         "an engine in a program must not link a Kubernetes client",
			"github.com/aws/":                                 "hosts that want S3 pass a bucket of their own",
			"github.com/Azure/":                               "hosts that want Azure pass a bucket of their own",
			"github.com/prometheus/prometheus/rules":          "only ruler/engine evaluates rules",
			"github.com/prometheus/prometheus/notifier":       "only ruler/engine sends alerts",
			"github.com/prometheus/prometheus/storage/remote": "only ruler/engine sends samples",
			"os/signal":                                       "signals belong to the host",
			"example.com/loki/examples/":                      "mains import the library, never the other way round",
		}},
		{"./logql/...", map[string]string{
			"google.golang.org/grpc":    "a program that only runs LogQL must not link gRPC",
			"github.com/thanos-io":      "the language does not know where lines come from",
			"example.com/loki/store":    "the language does not know where lines come from",
			"example.com/loki/ingester": "the language does not know where lines come from",
			"net/http":                  "the language has no I/O",
		}},
		{"./ruler", map[string]string{
			"example.com/loki/frontend":               "rules are kept and described without a look at queries",
			"github.com/prometheus/prometheus/promql": "only ruler/engine links what evaluates rules",
		}},
		{"./store", map[string]string{
			"example.com/loki/ingester": "imports go down only",
			"example.com/loki/querier":  "imports go down only",
		}},
		{"./ingester", map[string]string{
			"example.com/loki/distributor": "imports go down only",
			"example.com/loki/querier":     "imports go down only",
		}},
		{"./distributor", map[string]string{
			"example.com/loki/frontend": "imports go down only",
			"example.com/loki/querier":  "imports go down only",
		}},
		{"./frontend", map[string]string{
			"example.com/loki/distributor": "reading does not know writing",
		}},
	} {
		out, err := exec.Command("go", "list", "-deps", c.pattern).Output()
		if err != nil {
			t.Fatalf("go list -deps %s: %v", c.pattern, err)
		}
		for _, dep := range strings.Fields(string(out)) {
			for prefix, reason := range c.forbid {
				if dep == prefix || strings.HasPrefix(dep, strings.TrimSuffix(prefix, "/")+"/") {
					t.Errorf("%s links %s: %s", c.pattern, dep, reason)
				}
			}
		}
	}
}

// TestOwnImports holds what packages of the library may import themselves.
func TestOwnImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		pkg, imports, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.Contains(pkg, "/examples/microservices/") && strings.Contains(" "+imports, " example.com/loki/internal/") {
			t.Errorf("%s imports %s: what shows how to build one's own must use what others can import", pkg, imports)
		}
		if strings.Contains(pkg, "/examples/") || strings.Contains(pkg, "/internal/bench/") { // programs
			continue
		}
		for _, imp := range strings.Fields(imports) {
			switch imp {
			case "flag", "os/signal", "expvar", "log":
				t.Errorf("%s imports %s: flags, signals and global loggers belong to the host", pkg, imp)
			}
		}
	}
}
