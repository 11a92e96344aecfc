package syntax_test

import (
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A program that looks at queries only should get little more than this package.
func TestDependencies(t *testing.T) {
	// What matchers bring with them.
	allowed := []string{
		"github.com/prometheus/prometheus/model/labels", "github.com/prometheus/common/model",
		"github.com/prometheus/client_model/go", "github.com/grafana/regexp", "github.com/cespare/xxhash/v2",
		"google.golang.org/protobuf/", "go.yaml.in/yaml/", "golang.org/x/text/", "example.com/loki/logql/syntax",
	}
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.FieldsSeq(string(out)) {
		if !hasPrefix(path, allowed) {
			t.Errorf("the package links %s", path)
		}
	}

	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	direct := []string{"github.com/prometheus/prometheus/model/labels", "github.com/grafana/regexp/syntax"}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, imp := range f.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			if strings.Contains(path, ".") && !hasPrefix(path, direct) {
				t.Errorf("%s imports %s", file, path)
			}
			if path == "os" || strings.HasPrefix(path, "net/http") {
				t.Errorf("%s imports %s: the language does no I/O", file, path)
			}
		}
	}
}

func hasPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
