package frontend

import (
	"time"

	"github.com/dustin/go-humanize"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/limits"
	"example.com/loki/logql"
	"example.com/loki/logql/syntax"
)

// maxRanges bounds how many selections of lines a query may make: each is a read of its own.
const maxRanges = 512

// checkQuery compares a query with the tenant's limits.
func checkQuery(p *logql.Params, expr syntax.Expr, lim *limits.Limits) error {
	if err := checkLength(p.Start, p.End, lim); err != nil {
		return err
	}
	ranges, widest := rangesOf(expr)
	if ranges > maxRanges {
		return limitErrorf("max_query_ranges", "the query selects lines %d times, but at most %d are allowed; split it into several queries", ranges, maxRanges)
	}
	if most := lim.MaxQueryRange; most > 0 && widest > most {
		return limitErrorf("max_query_range", "a range of the query is too long (range: %s, limit: %s); shorten what stands in brackets", model.Duration(widest), model.Duration(most))
	}
	if log, ok := expr.(*syntax.LogExpr); ok {
		if most := lim.MaxEntriesLimitPerQuery; most > 0 && p.Limit > most {
			return limitErrorf("max_entries_limit_per_query", "max entries limit per query exceeded, limit > max_entries_limit_per_query (%d > %d)", p.Limit, most)
		}
		return checkSelectors(log, lim)
	}
	if err := checkSelectors(expr, lim); err != nil {
		return err
	}
	if p.Step > 0 && (p.End-p.Start)/int64(p.Step) > logql.MaxPoints {
		return &logql.QueryError{
			Kind:    logql.KindPoints,
			Message: "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter",
		}
	}
	return nil
}

// checkLength compares a time range with the tenant's limit.
func checkLength(start, end int64, lim *limits.Limits) error {
	length := time.Duration(end - start)
	if length < 0 && end > start { // it does not fit
		length = 1<<63 - 1
	}
	if most := lim.MaxQueryLength; most > 0 && length > most {
		return limitErrorf("max_query_length", "the query time range exceeds the limit (query length: %s, limit: %s)", length, model.Duration(most))
	}
	return nil
}

func checkMatchers(matchers []*labels.Matcher, lim *limits.Limits) error {
	if most := lim.MaxStreamsMatchersPerQuery; most > 0 && len(matchers) > most {
		return limitErrorf("max_streams_matchers_per_query", "max streams matchers per query exceeded, matchers-count > limit (%d > %d)", len(matchers), most)
	}
	return nil
}

// checkBytes compares what a query would have to read with the tenant's limit.
func checkBytes(bytes int64, lim *limits.Limits) error {
	if most := lim.MaxQueryBytesRead; most > 0 && bytes > most {
		return limitErrorf("max_query_bytes_read", "the query would read too many bytes (query: %s, limit: %s); consider adding more specific stream selectors or reduce the time range of the query",
			humanize.IBytes(uint64(bytes)), humanize.IBytes(uint64(most)))
	}
	return nil
}

// lookback returns the part of a range that the tenant may see; it is empty if end <= start.
func lookback(start int64, lim *limits.Limits, now time.Time) int64 {
	if lim.MaxQueryLookback > 0 {
		start = max(start, now.Add(-lim.MaxQueryLookback).UnixNano())
	}
	return start
}

// rangesOf returns how many range aggregations an expression has, and the longest range of them.
func rangesOf(expr syntax.Expr) (n int, widest time.Duration) {
	switch e := expr.(type) {
	case *syntax.RangeAggregation:
		return 1, e.Range
	case *syntax.VectorAggregation:
		return rangesOf(e.Inner)
	case *syntax.LabelReplace:
		return rangesOf(e.Inner)
	case *syntax.Binary:
		n, widest = rangesOf(e.Left)
		m, w := rangesOf(e.Right)
		return n + m, max(widest, w)
	}
	return 0, 0
}
