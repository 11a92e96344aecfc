package frontend

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"example.com/loki/logql"
	"example.com/loki/logql/drain"
	"example.com/loki/logql/syntax"
)

// PatternRequest asks for the patterns of the lines that a log query selects.
type PatternRequest struct {
	Query      string
	Start, End int64
	Step       time.Duration // of the samples; rounded up to seconds
	LineLimit  int           // of the lines to look at; 0 means 4000
}

// Pattern is what many lines have in common, as a pattern line filter (|>) would say it.
type Pattern struct {
	Pattern string
	Level   string // detected_level of the lines
	Samples []PatternSample
}

// PatternSample is how many lines there are in the step that begins at Time, in seconds since 1970.
type PatternSample struct {
	Time, Count int64
}

const (
	defaultPatternLines = 4000
	maxPatternSlices    = 8
	maxPatterns         = 300
	unknownLevel        = "unknown"
	levelLabel          = "detected_level"

	// After samplingTime no further slice is begun. What has been found by then is the answer.
	samplingTime = 20 * time.Second
)

// DetectPatterns returns the patterns of most lines first. It looks at a sample of the lines: the newest of
// each of some slices of the range. Where there are more, all lines of a slice are counted by level and
// step, and shared out among the patterns as the sample has them.
func DetectPatterns(ctx context.Context, s Service, req *PatternRequest) ([]Pattern, error) {
	expr, err := syntax.ParseLog(req.Query)
	if err != nil {
		return nil, err
	}
	m := patternMiner{step: wholeSeconds(req.Step), levels: map[string]*levelMiner{}}
	pieces := m.cut(req.Start, req.End)
	limit := max(1, cmp.Or(max(0, req.LineLimit), defaultPatternLines)/max(1, len(pieces)))
	deadline := time.Now().Add(samplingTime)
	full := false
	for i := len(pieces) - 1; i >= 0 && time.Now().Before(deadline); i-- { // newest first
		p := logql.Params{Query: req.Query, Start: pieces[i].start, End: pieces[i].end, Limit: limit, Categorize: true}
		res, err := s.Query(ctx, &p)
		if err != nil {
			return nil, err
		}
		n, err := m.sample(i, res)
		if err != nil {
			return nil, err
		}
		pieces[i].full = n >= limit
		full = full || pieces[i].full
	}
	var counts map[string]map[int64]float64
	if full {
		if counts, err = countLevels(ctx, s, expr, req.Start, req.End, m.step); err != nil {
			return nil, err
		}
	}
	return m.patterns(pieces, counts), nil
}

// wholeSeconds rounds a step up: samples have no finer times.
func wholeSeconds(step time.Duration) int64 {
	const second = int64(time.Second)
	return max(1, (min(int64(step), math.MaxInt64-second)+second-1)/second) * second
}

// patternSlice is a piece of the range.
type patternSlice struct {
	start, end int64
	full       bool // there are more lines than were looked at
}

// patternMiner collects patterns by level.
type patternMiner struct {
	step   int64
	levels map[string]*levelMiner
}

// levelMiner collects the patterns of one level.
type levelMiner struct {
	*drain.Miner
	lines map[int]float64 // that were looked at, by slice
}

// cut cuts a range into slices, at multiples of the step.
func (m *patternMiner) cut(start, end int64) []patternSlice {
	if start >= end {
		return nil
	}
	steps := (uint64(end-start)-1)/uint64(m.step) + 1
	width := int64((steps + maxPatternSlices - 1) / maxPatternSlices * uint64(m.step))
	var all []patternSlice
	for from := start; from < end; {
		floor, _ := align(from, from, m.step)
		through := end
		if end-floor > width {
			through = floor + width
		}
		all = append(all, patternSlice{start: from, end: through})
		from = through
	}
	return all
}

// sample adds the lines of a slice and returns how many there are.
func (m *patternMiner) sample(slice int, res *logql.Result) (lines int, err error) {
	for i := range res.Streams {
		stream := &res.Streams[i]
		lines += len(stream.Entries)
		for j := range stream.Entries {
			e := &stream.Entries[j]
			level := cmp.Or(e.Parsed.Get(levelLabel), e.Metadata.Get(levelLabel), stream.Labels.Get(levelLabel), unknownLevel)
			l := m.levels[level]
			if l == nil {
				miner, err := drain.New(drain.Config{MaxClusters: maxPatterns})
				if err != nil {
					return 0, err
				}
				l = &levelMiner{Miner: miner, lines: map[int]float64{}}
				m.levels[level] = l
			}
			at, _ := align(e.Time, e.Time, m.step)
			l.Add(e.Line, at, 1)
			l.lines[slice]++
		}
	}
	return lines, nil
}

// countLevels counts the lines of a query by level and start of step.
func countLevels(ctx context.Context, s Service, expr *syntax.LogExpr, start, end, step int64) (map[string]map[int64]float64, error) {
	with := *expr
	if len(expr.Stages) > 0 { // a metric query refuses lines with errors
		with.Stages = append(slices.Clip(expr.Stages), &syntax.DropStage{Labels: []syntax.LabelSelector{{Name: "__error__"}, {Name: "__error_details__"}}})
	}
	// A point at t counts what is later than t-step and not later than t, so steps are moved by the least
	// to have the lines at their start and not those at their end.
	query := &syntax.VectorAggregation{
		Op:       syntax.VectorSum,
		Inner:    &syntax.RangeAggregation{Op: syntax.RangeCount, Log: &with, Range: time.Duration(step), Offset: time.Nanosecond},
		Grouping: &syntax.Grouping{Names: []string{levelLabel}},
	}
	first, last := align(start, end, step)
	if first > math.MaxInt64-step {
		return nil, nil
	}
	res, err := s.Query(ctx, &logql.Params{Query: query.String(), Start: first + step, End: max(last, first+step), Step: time.Duration(step)})
	if err != nil {
		return nil, fmt.Errorf("count lines: %w", err)
	}
	counts := map[string]map[int64]float64{}
	for _, series := range res.Series {
		level := cmp.Or(series.Labels.Get(levelLabel), unknownLevel)
		if counts[level] == nil {
			counts[level] = map[int64]float64{}
		}
		for _, p := range series.Points {
			counts[level][p.Time*int64(time.Millisecond)-step] += p.Value
		}
	}
	return counts, nil
}

// patterns returns what has been found. counts are needed for full slices only.
func (m *patternMiner) patterns(pieces []patternSlice, counts map[string]map[int64]float64) []Pattern {
	type ranked struct {
		Pattern
		total float64
	}
	var all []ranked
	for level, l := range m.levels {
		for _, p := range l.Patterns() {
			steps := m.spread(p.Points, l.lines, pieces, counts[level])
			r := ranked{Pattern: Pattern{Pattern: p.Text, Level: level, Samples: m.samples(steps)}}
			for _, n := range steps {
				r.total += n
			}
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(b.total, a.total), strings.Compare(a.Pattern.Pattern, b.Pattern.Pattern), strings.Compare(a.Level, b.Level))
	})
	all = all[:min(len(all), maxPatterns)]
	patterns := make([]Pattern, len(all))
	for i := range all {
		patterns[i] = all[i].Pattern
	}
	return patterns
}

// spread returns the lines of a pattern by step: those of the sample, or where that isn't all of a slice,
// the pattern's share of what was counted there.
func (m *patternMiner) spread(points []drain.Point, lines map[int]float64, all []patternSlice, counts map[int64]float64) map[int64]float64 {
	steps := map[int64]float64{}
	for i := range all {
		from, _ := align(all[i].start, all[i].start, m.step)
		sampled := 0.0
		for len(points) > 0 && points[0].Time < all[i].end {
			if sampled += points[0].Weight; !all[i].full {
				steps[points[0].Time] += points[0].Weight
			}
			points = points[1:]
		}
		if !all[i].full || sampled == 0 {
			continue
		}
		for at := from; ; at += m.step {
			if n := counts[at]; n > 0 {
				steps[at] += n * sampled / lines[i]
			}
			if all[i].end-at <= m.step {
				break
			}
		}
	}
	return steps
}

// samples rounds lines by step so that their sum is right. There is a zero at either end of a gap.
func (m *patternMiner) samples(steps map[int64]float64) []PatternSample {
	times := make([]int64, 0, len(steps))
	for at := range steps {
		times = append(times, at)
	}
	slices.Sort(times)
	samples := make([]PatternSample, 0, len(steps))
	add := func(at, n int64) { samples = append(samples, PatternSample{Time: at / int64(time.Second), Count: n}) }
	owed := 0.0
	for i, at := range times {
		if i > 0 {
			if before := times[i-1]; at-before > m.step {
				add(before+m.step, 0)
				if at-before > 2*m.step {
					add(at-m.step, 0)
				}
			}
		}
		owed += steps[at]
		n := math.Round(owed)
		owed -= n
		add(at, int64(n))
	}
	return samples
}
