package ingester

import (
	"context"
	"fmt"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/index"
)

// match returns the streams that match all matchers, as 1 + index into p.streams, ascending. Matchers of a label that a
// stream does not have see the empty string.
func (p *part) match(ctx context.Context, matchers []*labels.Matcher) ([]storage.SeriesRef, error) {
	var its, not []index.Postings
	for _, m := range matchers {
		if m.Matches("") {
			// Streams without the label match too: take away those whose value does not.
			if values, ok := wordsOf(m, labels.MatchNotEqual, labels.MatchNotRegexp); ok {
				not = append(not, p.postings.Postings(ctx, m.Name, values...))
			} else {
				not = append(not, p.postings.PostingsForLabelMatching(ctx, m.Name, func(v string) bool { return !m.Matches(v) }))
			}
			continue
		}
		if values, ok := wordsOf(m, labels.MatchEqual, labels.MatchRegexp); ok {
			its = append(its, p.postings.Postings(ctx, m.Name, values...))
		} else {
			its = append(its, p.postings.PostingsForLabelMatching(ctx, m.Name, m.Matches))
		}
	}
	if len(its) == 0 {
		its = append(its, p.postings.All())
	}
	all := index.Intersect(its...)
	for _, n := range not {
		all = index.Without(all, n)
	}
	refs, err := index.ExpandPostings(all)
	if err != nil {
		return nil, fmt.Errorf("ingester: match streams: %w", err)
	}
	return refs, ctx.Err()
}

// wordsOf returns the values that an equality, or a regular expression that is a list of words, names.
func wordsOf(m *labels.Matcher, equal, regexp labels.MatchType) ([]string, bool) {
	switch m.Type {
	case equal:
		if m.Value != "" {
			return []string{m.Value}, true
		}
	case regexp:
		if set := m.SetMatches(); len(set) > 0 && !slices.Contains(set, "") {
			return set, true
		}
	}
	return nil, false
}
