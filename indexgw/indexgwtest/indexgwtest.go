// Package indexgwtest has the tests that every indexgw.Service must pass, and a fake in memory.
package indexgwtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/dskit/tenant"
	"github.com/grafana/dskit/user"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/indexgw"
	"example.com/loki/logql"
	"example.com/loki/store"
)

// Segment is a segment of a tenant, as far as an index shows it.
type Segment struct {
	Tenant   string
	ID       ulid.ULID
	Streams  []Stream
	Replaces []ulid.ULID
}

// Stream is a stream in a segment: its labels and the times of its rows, ascending. Each row counts as
// RowBytes bytes.
type Stream struct {
	Labels labels.Labels
	Times  []int64
}

// RowBytes is the size of every row.
const RowBytes = 10

// Fake is an indexgw.Service over segments in memory. Segments may be changed while nobody calls it.
type Fake struct {
	Segs []Segment
}

var _ indexgw.Service = (*Fake)(nil)

// matching calls f for each stream with rows in the range that matches, and the number of these rows.
func (f *Fake) matching(ctx context.Context, start, end int64, matchers []*labels.Matcher, parts []string, do func(Stream, int64)) error {
	id, err := tenant.TenantID(ctx)
	if err != nil {
		return err
	}
	for _, g := range f.Segs {
		if g.Tenant != id || parts != nil && !slices.Contains(parts, g.ID.String()) {
			continue
		}
		for _, s := range g.Streams {
			n := int64(0)
			for _, t := range s.Times {
				if start <= t && t < end {
					n++
				}
			}
			if n > 0 && !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.Labels.Get(m.Name)) }) {
				do(s, n)
			}
		}
	}
	return nil
}

// Labels implements indexgw.Service.
func (f *Fake) Labels(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	var all []string
	err := f.matching(ctx, start, end, matchers, nil, func(s Stream, _ int64) {
		s.Labels.Range(func(l labels.Label) { all = append(all, l.Name) })
	})
	slices.Sort(all)
	return slices.Compact(all), err
}

// LabelValues implements indexgw.Service.
func (f *Fake) LabelValues(ctx context.Context, name string, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	var all []string
	err := f.matching(ctx, start, end, matchers, nil, func(s Stream, _ int64) {
		if v := s.Labels.Get(name); v != "" {
			all = append(all, v)
		}
	})
	slices.Sort(all)
	return slices.Compact(all), err
}

// Series implements indexgw.Service.
func (f *Fake) Series(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]labels.Labels, error) {
	var all []labels.Labels
	err := f.matching(ctx, start, end, matchers, nil, func(s Stream, _ int64) { all = append(all, s.Labels) })
	slices.SortFunc(all, labels.Compare)
	return slices.CompactFunc(all, labels.Equal), err
}

// Volumes implements indexgw.Service.
func (f *Fake) Volumes(ctx context.Context, start, end int64, matchers []*labels.Matcher, by, parts []string) ([]logql.StreamVolume, error) {
	var all []logql.StreamVolume
	err := f.matching(ctx, start, end, matchers, parts, func(s Stream, rows int64) {
		for i := range all {
			if labels.Equal(all[i].Labels, s.Labels) {
				all[i].Entries += rows
				all[i].Bytes += rows * RowBytes
				all[i].Chunks++
				return
			}
		}
		all = append(all, logql.StreamVolume{Labels: s.Labels, Entries: rows, Bytes: rows * RowBytes, Chunks: 1})
	})
	slices.SortFunc(all, func(a, b logql.StreamVolume) int { return labels.Compare(a.Labels, b.Labels) })
	if by != nil {
		all = logql.GroupVolumes(all, by)
	}
	return all, err
}

// Segments implements indexgw.Service.
func (f *Fake) Segments(ctx context.Context, start, end int64) ([]store.SegmentInfo, error) {
	id, err := tenant.TenantID(ctx)
	if err != nil {
		return nil, err
	}
	var all []store.SegmentInfo
	for _, g := range f.Segs {
		if info := g.Info(); g.Tenant == id && info.MinTime < end && info.MaxTime >= start {
			all = append(all, info)
		}
	}
	slices.SortFunc(all, func(a, b store.SegmentInfo) int { return a.ID.Compare(b.ID) })
	return all, nil
}

// Info returns what the catalog would say of the segment.
func (g Segment) Info() store.SegmentInfo {
	info := store.SegmentInfo{ID: g.ID, Streams: int64(len(g.Streams)), Replaces: g.Replaces, MinTime: 1<<63 - 1, MaxTime: -1 << 63}
	for _, s := range g.Streams {
		info.Rows += int64(len(s.Times))
		info.RawBytes += int64(len(s.Times)) * RowBytes
		for _, t := range s.Times {
			info.MinTime, info.MaxTime = min(info.MinTime, t), max(info.MaxTime, t)
		}
	}
	return info
}

// Contract tests a service that newService makes over the given segments.
func Contract(t *testing.T, newService func(t *testing.T, segments []Segment) indexgw.Service) {
	id := func(n uint64) ulid.ULID {
		var u ulid.ULID
		if err := u.SetTime(n); err != nil {
			t.Fatal(err)
		}
		return u
	}
	api := labels.FromStrings("app", "api", "env", "prod")
	web := labels.FromStrings("app", "web", "env", "dev")
	segments := []Segment{
		{Tenant: "a", ID: id(1), Streams: []Stream{{api, []int64{10, 20, 30}}, {web, []int64{15}}}},
		{Tenant: "a", ID: id(2), Streams: []Stream{{api, []int64{40, 50}}}},
		{Tenant: "b", ID: id(3), Streams: []Stream{{labels.FromStrings("secret", "x"), []int64{10}}}},
	}
	s := newService(t, segments)
	a := user.InjectOrgID(t.Context(), "a")
	isAPI := []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "app", "api")}
	notDev := []*labels.Matcher{labels.MustNewMatcher(labels.MatchNotEqual, "env", "dev")}

	tests := []struct {
		name string
		ask  func() (any, error)
		want string
	}{
		{"labels", func() (any, error) { return s.Labels(a, 0, 100, nil) }, "[app env]"},
		{"labels out of range", func() (any, error) { return s.Labels(a, 51, 100, nil) }, "[]"},
		{"values", func() (any, error) { return s.LabelValues(a, "app", 0, 100, nil) }, "[api web]"},
		{"values that match", func() (any, error) { return s.LabelValues(a, "env", 0, 100, isAPI) }, "[prod]"},
		{"values of no label", func() (any, error) { return s.LabelValues(a, "nope", 0, 100, nil) }, "[]"},
		{"series", func() (any, error) { return s.Series(a, 0, 100, nil) }, fmt.Sprint([]labels.Labels{api, web})},
		{"series that match", func() (any, error) { return s.Series(a, 0, 100, notDev) }, fmt.Sprint([]labels.Labels{api})},
		{"other tenant", func() (any, error) { return s.LabelValues(user.InjectOrgID(t.Context(), "b"), "app", 0, 100, nil) }, "[]"},
		{"end is exclusive", func() (any, error) { return ids(s.Segments(a, 0, 40)) }, id(1).String()},
		{"start is inclusive", func() (any, error) { return ids(s.Segments(a, 30, 41)) }, id(1).String() + " " + id(2).String()},
		{"volumes", func() (any, error) { return entries(s.Volumes(a, 0, 100, isAPI, nil, nil)) }, api.String() + "=5"},
		{"volumes by app", func() (any, error) { return entries(s.Volumes(a, 0, 100, isAPI, []string{"app", "none"}, nil)) }, labels.FromStrings("app", "api").String() + "=5"},
		{"volumes of a part", func() (any, error) { return entries(s.Volumes(a, 0, 100, nil, nil, []string{id(1).String()})) }, api.String() + "=3 " + web.String() + "=1"},
		{"volumes of no part", func() (any, error) { return entries(s.Volumes(a, 0, 100, nil, nil, []string{})) }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.ask()
			if err != nil || fmt.Sprint(got) != tt.want {
				t.Errorf("got %v, %v, want %s", got, err, tt.want)
			}
		})
	}
	t.Run("without tenant", func(t *testing.T) {
		if _, err := s.Labels(t.Context(), 0, 100, nil); err == nil {
			t.Error("Labels answers without a tenant")
		}
	})
}

func ids(segments []store.SegmentInfo, err error) (string, error) {
	var all []string
	for _, g := range segments {
		all = append(all, g.ID.String())
	}
	return strings.Join(all, " "), err
}

func entries(volumes []logql.StreamVolume, err error) (string, error) {
	var all []string
	for _, v := range volumes {
		all = append(all, fmt.Sprintf("%s=%d", v.Labels, v.Entries))
	}
	return strings.Join(all, " "), err
}
