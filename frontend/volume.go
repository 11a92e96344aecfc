package frontend

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"golang.org/x/sync/errgroup"

	"example.com/loki/logql"
)

const defaultVolumeLimit = 100

// Volume implements Service. Streams that lack one of the target labels don't count.
//
// Each bucket of a range stands at its last millisecond, the last one at the end of the range. A range of
// one bucket is answered as a vector.
func (f *Frontend) Volume(ctx context.Context, req *VolumeRequest) (*logql.Result, error) {
	begin := time.Now()
	ids, lim, ctx, cancel, err := f.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	if !lim.VolumeEnabled {
		return nil, limitErrorf("volume_enabled", "volumes are switched off for this tenant; an operator can set volume_enabled")
	}
	if err := checkMatchers(req.Matchers, lim); err != nil {
		return nil, err
	}
	if err := checkLength(req.Start, req.End, lim); err != nil {
		return nil, err
	}
	buckets, err := bucketsOf(lookback(req.Start, lim, f.cfg.Now()), req.End, int64(req.Step))
	if err != nil {
		return nil, err
	}
	limit := cmp.Or(req.Limit, defaultVolumeLimit)
	if lim.VolumeMaxSeries > 0 {
		limit = min(limit, lim.VolumeMaxSeries)
	}
	counted, err := f.countBuckets(ctx, ids, req, buckets)
	if err != nil {
		return nil, cause(ctx, err)
	}
	res := &logql.Result{Type: logql.ResultMatrix, Series: largest(counted, buckets, limit)}
	if len(buckets) <= 1 {
		res.Type = logql.ResultVector
	}
	res.Stats.ExecTime = time.Since(begin)
	res.Stats.Returned = int64(len(res.Series))
	return res, nil
}

// bucket is a range of time and the time, in milliseconds, at which its point stands.
type bucket struct {
	start, end int64
	at         int64
}

// bucketsOf cuts a range at multiples of step; with step 0 it is one bucket.
func bucketsOf(start, end, step int64) ([]bucket, error) {
	const ms = int64(time.Millisecond)
	last := bucket{start: start, end: end, at: end / ms}
	if start >= end {
		return nil, nil
	}
	if step <= 0 {
		return []bucket{last}, nil
	}
	if (end-start)/step > logql.MaxPoints {
		return nil, &logql.QueryError{
			Kind:    logql.KindPoints,
			Message: "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter",
		}
	}
	var all []bucket
	for {
		_, next := align(last.start, min(last.start, math.MaxInt64-1)+1, step)
		if next >= end {
			return append(all, last), nil
		}
		all = append(all, bucket{start: last.start, end: next, at: next/ms - 1})
		last.start = next
	}
}

// volumeSeries is the bytes of one series by bucket.
type volumeSeries struct {
	labels  labels.Labels
	buckets map[int]int64
	total   int64
}

// countBuckets asks for the volumes of each bucket and adds them up by series.
func (f *Frontend) countBuckets(ctx context.Context, ids []string, req *VolumeRequest, buckets []bucket) ([]*volumeSeries, error) {
	answers := make([][]logql.StreamVolume, len(buckets))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	group := newVolumeGroup(req)
	for i, b := range buckets {
		g.Go(func() (err error) {
			err = eachTenant(ctx, ids, req.Matchers, func(ctx context.Context, _ string, matchers []*labels.Matcher) error {
				volumes, err := retried(ctx, f, func() ([]logql.StreamVolume, error) {
					return f.querier.Volumes(ctx, b.start, b.end, matchers, group.by())
				})
				answers[i] = append(answers[i], group.fold(volumes)...)
				return err
			})
			if err != nil {
				return fmt.Errorf("volumes: %w", err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var all []*volumeSeries
	byHash := map[uint64][]*volumeSeries{}
	for i, volumes := range answers {
		for _, v := range volumes {
			h := labels.StableHash(v.Labels)
			at := slices.IndexFunc(byHash[h], func(s *volumeSeries) bool { return labels.Equal(s.labels, v.Labels) })
			var s *volumeSeries
			if at >= 0 {
				s = byHash[h][at]
			} else {
				s = &volumeSeries{labels: v.Labels, buckets: map[int]int64{}}
				byHash[h] = append(byHash[h], s)
				all = append(all, s)
			}
			s.buckets[i] += v.Bytes
			s.total += v.Bytes
		}
	}
	return all, nil
}

// largest returns the series with most bytes, largest first.
func largest(all []*volumeSeries, buckets []bucket, limit int) []logql.SeriesResult {
	slices.SortFunc(all, func(a, b *volumeSeries) int {
		return cmp.Or(cmp.Compare(b.total, a.total), labels.Compare(a.labels, b.labels))
	})
	all = all[:min(limit, len(all))]
	series := make([]logql.SeriesResult, len(all))
	for i, s := range all {
		series[i].Labels = s.labels
		for j, b := range buckets {
			if bytes, ok := s.buckets[j]; ok {
				series[i].Points = append(series[i].Points, logql.Point{Time: b.at, Value: float64(bytes)})
			}
		}
	}
	return series
}

// volumeGroup says which series a stream's bytes count for.
type volumeGroup struct {
	required []string // labels that a stream must have
	names    []string // labels that make the series; nil: all
	byLabel  bool
}

func newVolumeGroup(req *VolumeRequest) *volumeGroup {
	g := &volumeGroup{byLabel: req.ByLabel, required: req.TargetLabels, names: req.TargetLabels}
	if len(g.names) == 0 && !g.byLabel {
		for _, m := range req.Matchers {
			g.names = append(g.names, m.Name)
		}
	}
	slices.Sort(g.names)
	g.names = slices.Compact(g.names)
	return g
}

// by returns the labels that are looked at; nil: all.
func (g *volumeGroup) by() []string {
	if len(g.names) == 0 {
		if g.byLabel {
			return nil
		}
		return []string{}
	}
	return g.names // which has those required
}

// fold adds the volumes of streams up by series. Only Labels and Bytes of the answer are set.
func (g *volumeGroup) fold(volumes []logql.StreamVolume) []logql.StreamVolume {
	bytes := map[string]int64{}
	byKey := map[string]labels.Labels{}
	var key strings.Builder
	for _, v := range volumes {
		if slices.ContainsFunc(g.required, func(name string) bool { return !v.Labels.Has(name) }) {
			continue
		}
		if g.byLabel {
			v.Labels.Range(func(l labels.Label) {
				if len(g.names) == 0 || slices.Contains(g.names, l.Name) {
					bytes[l.Name] += v.Bytes
				}
			})
			continue
		}
		key.Reset()
		for _, name := range g.names {
			// Values may hold any byte, so their lengths keep them apart.
			value := v.Labels.Get(name)
			fmt.Fprintf(&key, "%d:%s", len(value), value)
		}
		k := key.String()
		if _, ok := byKey[k]; !ok {
			byKey[k] = v.Labels.MatchLabels(true, g.names...)
		}
		bytes[k] += v.Bytes
	}
	all := make([]logql.StreamVolume, 0, len(bytes))
	for k, n := range bytes {
		ls := byKey[k]
		if g.byLabel {
			ls = emptyLabel(k)
		}
		if ls.IsEmpty() {
			continue // none of the labels asked for
		}
		all = append(all, logql.StreamVolume{Labels: ls, Bytes: n})
	}
	return all
}

// emptyLabel returns the labels of a series that stands for a label name: that name without a value.
func emptyLabel(name string) labels.Labels {
	b := labels.NewScratchBuilder(1)
	b.Add(name, "")
	return b.Labels()
}
