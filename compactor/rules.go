package compactor

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/limits"
	"example.com/loki/logql/syntax"
)

// rules say how long the streams of a tenant are kept.
type rules struct {
	global  int64 // nanoseconds, 0: forever
	streams []streamRule
	key     string // differs where the rules do
}

type streamRule struct {
	matchers []*labels.Matcher
	priority int
	period   int64
}

func newRules(l *limits.Limits) (*rules, error) {
	r := &rules{global: int64(max(0, l.RetentionPeriod)), key: fmt.Sprint(l.RetentionPeriod, l.RetentionStream)}
	for _, s := range l.RetentionStream {
		ms, err := syntax.ParseMatchers(s.Selector)
		if err != nil {
			return nil, fmt.Errorf("retention_stream %s: %w", s.Selector, err)
		}
		r.streams = append(r.streams, streamRule{ms, s.Priority, int64(max(0, s.Period))})
	}
	slices.SortStableFunc(r.streams, func(a, b streamRule) int { return cmp.Compare(b.priority, a.priority) })
	return r, nil
}

// period returns how long a stream is kept, 0 for ever.
func (r *rules) period(ls labels.Labels) int64 {
next:
	for _, s := range r.streams {
		for _, m := range s.matchers {
			if !m.Matches(ls.Get(m.Name)) {
				continue next
			}
		}
		return s.period
	}
	return r.global
}

// shortest returns the shortest period that any stream may have, 0 if all are kept for ever.
func (r *rules) shortest() int64 {
	n := r.global
	for _, s := range r.streams {
		if s.period > 0 && (n == 0 || s.period < n) {
			n = s.period
		}
	}
	return n
}

// reason tells what expires a segment.
func (r *rules) reason() string {
	if len(r.streams) > 0 {
		return ReasonStream
	}
	return ReasonPeriod
}

// Reasons for which segments go.
const (
	ReasonPeriod = "retention_period"     // all rows are older than the tenant's period
	ReasonStream = "retention_stream"     // the rows of some or all streams are older than their periods
	ReasonTenant = "retention_bytes"      // the tenant has more than its limit
	ReasonShare  = "retention_disk_share" // the tenant has more than its share of the disk
	ReasonBytes  = "max_bytes"            // all tenants have more than the limit
	ReasonDisk   = "max_disk_share"       // the disk is too full
)
