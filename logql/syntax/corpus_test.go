package syntax

import (
	"bufio"
	"encoding/json"
	"os"
	"testing"
)

// recorded is a query of the conformance corpus and what Loki 3.7 made of it.
type recorded struct {
	Query  string
	Error  string // why it was refused, if it was
	Kind   string // "matchers": where only a selector was allowed
	Format string // what format_query answered, where that was asked
}

func corpus(t testing.TB) []recorded {
	t.Helper()
	f, err := os.Open("testdata/corpus.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var list []recorded
	for s := bufio.NewScanner(f); s.Scan(); {
		var r recorded
		if err := json.Unmarshal(s.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

func (r recorded) parse() (Expr, error) {
	if r.Kind == "matchers" {
		ms, err := ParseMatchers(r.Query)
		return &LogExpr{Matchers: ms}, err
	}
	return Parse(r.Query)
}

func TestCorpus(t *testing.T) {
	for _, r := range corpus(t) {
		e, err := r.parse()
		if (err != nil) != (r.Error != "") {
			t.Errorf("Parse(%q) = %v, %v, want error %q", r.Query, e, err, r.Error)
		}
		if os.Getenv("SHOW") != "" && err != nil {
			t.Logf("%s\n     got  %v\n     want %s", r.Query, err, r.Error)
		}
		if r.Format != "" && err == nil && Format(e) != r.Format {
			t.Errorf("Format of %q\n got %s\nwant %s", r.Query, Format(e), r.Format)
		}
	}
}
