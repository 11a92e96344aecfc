package frontend

import (
	"hash/fnv"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/limits"
	"example.com/loki/logql/syntax"
)

// queryHash is the number that Loki's log lines and limits know a query by: FNV-1 of its text.
func queryHash(query string) uint32 {
	h := fnv.New32()
	h.Write([]byte(query)) // never fails
	return h.Sum32()
}

// checkBlocked compares a query with those that the tenant may not ask.
func (f *Frontend) checkBlocked(ids []string, query string, expr syntax.Expr, lim *limits.Limits) error {
	for i := range lim.BlockedQueries {
		if blocks(&lim.BlockedQueries[i], query, expr) {
			f.metrics.blocked.WithLabelValues(strings.Join(ids, "|")).Inc()
			return limitErrorf("blocked_queries", "query blocked by policy")
		}
	}
	return nil
}

// blocks tells whether a query is one of those that b blocks.
func blocks(b *limits.BlockedQuery, query string, expr syntax.Expr) bool {
	if len(b.Types) > 0 && !slices.Contains(b.Types, kindOf(expr)) {
		return false
	}
	switch {
	case b.Hash != 0:
		return b.Hash == queryHash(query)
	case b.Pattern == "": // all of these types
		return true
	case b.Regex:
		re, err := regexp.Compile(b.Pattern)
		return err == nil && re.MatchString(query)
	}
	return strings.TrimSpace(b.Pattern) == strings.TrimSpace(query)
}

// checkRequired checks that a selector has as many labels as the tenant's selectors must have, and those that they must have.
func checkRequired(matchers []*labels.Matcher, lim *limits.Limits) error {
	if len(lim.RequiredLabels) == 0 && lim.MinimumLabelsNumber <= 0 {
		return nil
	}
	var present []string
	for _, m := range matchers {
		present = append(present, m.Name)
	}
	slices.Sort(present)
	present = slices.Compact(present)
	var missing []string
	for _, name := range lim.RequiredLabels {
		if !slices.Contains(present, name) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return limitErrorf("required_labels", "stream selector is missing required matchers [%s], labels present in the query were [%s]",
			strings.Join(missing, ", "), strings.Join(present, ", "))
	}
	if least := lim.MinimumLabelsNumber; len(present) < least {
		return limitErrorf("minimum_labels_number", "stream selector has less label matchers than required: (present: [%s], number_present: %d, required_number_label_matchers: %d)",
			strings.Join(present, ", "), len(present), least)
	}
	return nil
}

// checkSelectors checks all selectors of a query.
func checkSelectors(expr syntax.Expr, lim *limits.Limits) error {
	switch e := expr.(type) {
	case *syntax.LogExpr:
		if err := checkMatchers(e.Matchers, lim); err != nil {
			return err
		}
		return checkRequired(e.Matchers, lim)
	case *syntax.RangeAggregation:
		return checkSelectors(e.Log, lim)
	case *syntax.VectorAggregation:
		return checkSelectors(e.Inner, lim)
	case *syntax.LabelReplace:
		return checkSelectors(e.Inner, lim)
	case *syntax.Binary:
		if err := checkSelectors(e.Left, lim); err != nil {
			return err
		}
		return checkSelectors(e.Right, lim)
	}
	return nil
}
