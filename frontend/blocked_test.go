package frontend_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/grafana/dskit/user"

	"example.com/loki/frontend"
	"example.com/loki/frontend/frontendtest"
	"example.com/loki/limits"
	"example.com/loki/logql"
	"example.com/loki/querier"
)

// TestRefusedQueries: what the limits say about the text and the selectors of queries holds for queries and tails.
func TestRefusedQueries(t *testing.T) {
	const (
		blocked = "query blocked by policy"
		hashed  = `{stream="stdout",pod="loki-canary-9w49x"}` // 2943214005, says Loki's manual
	)
	of := func(queries ...limits.BlockedQuery) func(*limits.Limits) {
		return func(l *limits.Limits) { l.BlockedQueries = queries }
	}
	required := func(least int, names ...string) func(*limits.Limits) {
		return func(l *limits.Limits) { l.RequiredLabels, l.MinimumLabelsNumber = names, least }
	}
	for _, test := range []struct {
		name   string
		limits func(*limits.Limits)
		query  string
		want   string // in the error; empty: none
	}{
		{"exact", of(limits.BlockedQuery{Pattern: ` {app="web"}`}), `{app="web"}`, blocked},
		{"exact, other text", of(limits.BlockedQuery{Pattern: `{app="web"}`}), `{app="web"} |= ""`, ""},
		{"second of two", of(limits.BlockedQuery{Pattern: "x"}, limits.BlockedQuery{Pattern: `.*web.*`, Regex: true}), `{app="web"}`, blocked},
		{"regex, no match", of(limits.BlockedQuery{Pattern: `prod`, Regex: true}), `{app="web"}`, ""},
		{"bad regex", of(limits.BlockedQuery{Pattern: `(`, Regex: true}), `{app="web"}`, ""},
		{"hash", of(limits.BlockedQuery{Hash: 2943214005}), hashed, blocked},
		{"hash of another", of(limits.BlockedQuery{Hash: 2943214005}), hashed + " ", ""},
		{"hash, but another type", of(limits.BlockedQuery{Hash: 2943214005, Types: []string{"metric", "filter"}}), hashed, ""},
		{"all of a type", of(limits.BlockedQuery{Types: []string{"metric"}}), `rate({app="web"}[1m])`, blocked},
		{"all of another type", of(limits.BlockedQuery{Types: []string{"metric", "filter"}}), `{app="web"}`, ""},
		{"filter", of(limits.BlockedQuery{Types: []string{"filter"}}), `{app="web"} |= "x"`, blocked},

		{"required", required(0, "app"), `{app="web"}`, ""},
		{"required, missing", required(0, "app", "env", "zone"), `{pod="a", app="web"}`,
			"stream selector is missing required matchers [env, zone], labels present in the query were [app, pod]"},
		{"required in each selector", required(0, "app"), `sum(rate({app="web"}[1m])) / sum(rate({env="dev"}[1m]))`, "[app], labels present in the query were [env]"},
		{"number", required(2), `{app="web", env="dev"}`, ""},
		{"number, one twice", required(2), `{app="web", app!="api"}`,
			"stream selector has less label matchers than required: (present: [app], number_present: 1, required_number_label_matchers: 2)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			lim := limits.Default()
			test.limits(&lim)
			f := over(t, frontend.Config{}, frontendtest.World(), lim)
			ctx := user.InjectOrgID(t.Context(), "a")
			end := now().UnixNano()
			check := func(err error) {
				t.Helper()
				if test.want == "" && err != nil || test.want != "" && (!errors.Is(err, frontend.ErrLimit) || !strings.Contains(err.Error(), test.want)) {
					t.Errorf("%s: %v, want %q", test.query, err, test.want)
				}
			}
			_, err := f.Query(ctx, &logql.Params{Query: test.query, Start: end - 1e9, End: end, Step: 1e9, Limit: 10})
			check(err)
			if !strings.HasPrefix(test.query, "{") || test.want == "" {
				return
			}
			for _, err := range f.Tail(ctx, &querier.TailRequest{Query: test.query, Start: end, Limit: 10}) {
				check(err)
				break
			}
		})
	}
}
