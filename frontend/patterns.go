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
	"example.com/loki/logql/syntax"
)

// PatternRequest asks for the patterns of the lines that a log query selects.
type PatternRequest struct {
	Query      string
	Start, End int64
	Step       time.Duration // of the samples
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

// The lines to look at: patternSlices times across the range as many as patternLines.
const (
	patternSlices = 8
	patternLines  = 500
	maxPatterns   = 300
)

// DetectPatterns returns the patterns of most lines first. It looks at a sample of the lines, spread over
// the range; where there are more, counts are scaled up to the true number of lines.
func DetectPatterns(ctx context.Context, s Service, req *PatternRequest) ([]Pattern, error) {
	expr, err := syntax.ParseLog(req.Query)
	if err != nil {
		return nil, err
	}
	step := max(int64(req.Step), int64(time.Second))
	sets := map[string]*patternSet{} // by level
	width := max((req.End-req.Start+patternSlices-1)/patternSlices, 1)
	for from := req.Start; from < req.End; from += width {
		through := min(from+width, req.End)
		res, err := s.Query(ctx, &logql.Params{Query: req.Query, Start: from, End: through, Limit: patternLines, Categorize: true})
		if err != nil {
			return nil, err
		}
		scale, err := scaleOf(ctx, s, expr, res, from, through)
		if err != nil {
			return nil, err
		}
		for i := range res.Streams {
			for j := range res.Streams[i].Entries {
				e := &res.Streams[i].Entries[j]
				level := cmp.Or(e.Metadata.Get("detected_level"), "unknown")
				if sets[level] == nil {
					sets[level] = &patternSet{byText: map[string]*pattern{}}
				}
				at, _ := align(e.Time, e.Time, step)
				sets[level].add(e.Line, at, scale)
			}
		}
	}
	type ranked struct {
		Pattern
		total float64
	}
	var all []ranked
	for level, set := range sets {
		for _, p := range set.merge() {
			all = append(all, ranked{Pattern{Pattern: p.text(), Level: level, Samples: p.samples()}, p.total})
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
	return patterns, nil
}

// scaleOf returns for how many lines of a slice one of its sample stands.
func scaleOf(ctx context.Context, s Service, expr *syntax.LogExpr, res *logql.Result, from, through int64) (float64, error) {
	sampled := 0
	for i := range res.Streams {
		sampled += len(res.Streams[i].Entries)
	}
	if sampled < patternLines {
		return 1, nil
	}
	// A range [r] at t holds what is later than t-r and not later than t, hence t is the last nanosecond.
	count := &syntax.VectorAggregation{
		Op:    syntax.VectorSum,
		Inner: &syntax.RangeAggregation{Op: syntax.RangeCount, Log: expr, Range: time.Duration(through - from)},
	}
	all, err := s.Query(ctx, &logql.Params{Query: count.String(), Start: through - 1, End: through - 1})
	if err != nil {
		return 0, fmt.Errorf("count lines: %w", err)
	}
	if len(all.Series) == 0 || len(all.Series[0].Points) == 0 {
		return 1, nil
	}
	return max(all.Series[0].Points[0].Value/float64(sampled), 1), nil
}

// wildcard is the part of a pattern that stands for any text.
const wildcard = "<_>"

// maxPatternTokens bounds the length of a pattern; what follows is one wildcard.
const maxPatternTokens = 256

// pattern is a sequence of tokens: words, wildcards and what separates them.
type pattern struct {
	tokens []string
	counts map[int64]float64 // by start of step
	total  float64
}

// patternSet collects the patterns of lines: first those that agree in all words without digits, then
// merge joins those that differ in few.
type patternSet struct {
	byText map[string]*pattern
}

// add counts a line for weight lines at a time.
func (s *patternSet) add(line string, at int64, weight float64) {
	tokens := tokensOf(line)
	text := strings.Join(tokens, "")
	p := s.byText[text]
	if p == nil {
		p = &pattern{tokens: tokens, counts: map[int64]float64{}}
		s.byText[text] = p
	}
	p.counts[at] += weight
	p.total += weight
}

// tokensOf splits a line into words and separators, with wildcards for the words that hold a digit.
func tokensOf(line string) []string {
	var tokens []string
	for len(line) > 0 {
		if len(tokens) >= maxPatternTokens {
			return appendToken(tokens, wildcard)
		}
		n := 1
		for separates := isSeparator(line[0]); n < len(line) && isSeparator(line[n]) == separates; n++ {
		}
		word := line[:n]
		line = line[n:]
		if strings.ContainsAny(word, "0123456789") {
			word = wildcard
		}
		tokens = appendToken(tokens, word)
	}
	return tokens
}

// appendToken appends a token. Wildcards with only a colon between them, as in times and addresses, become
// one, and so do wildcards side by side.
func appendToken(tokens []string, word string) []string {
	n := len(tokens)
	if word != wildcard || n == 0 {
		return append(tokens, word)
	}
	if tokens[n-1] == wildcard {
		return tokens
	}
	if n > 1 && tokens[n-1] == ":" && tokens[n-2] == wildcard {
		return tokens[:n-1]
	}
	return append(tokens, word)
}

func isSeparator(c byte) bool { return strings.IndexByte(" \t\r\n\"'()[]{},;:=|&?<>", c) >= 0 }

// similar is the share of words in which patterns must agree to be joined.
const similar = 0.6

// merge returns the patterns, those that are similar as one, the most frequent first.
func (s *patternSet) merge() []*pattern {
	all := make([]*pattern, 0, len(s.byText))
	for _, p := range s.byText {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *pattern) int {
		return cmp.Or(cmp.Compare(b.total, a.total), strings.Compare(a.text(), b.text()))
	})
	byLength := map[int][]*pattern{}
	var kept []*pattern
	for _, p := range all {
		n := len(p.tokens)
		if i := slices.IndexFunc(byLength[n], p.isLike); i >= 0 {
			byLength[n][i].join(p)
			continue
		}
		if len(kept) == maxPatterns {
			continue // rarer than all that were kept
		}
		byLength[n] = append(byLength[n], p)
		kept = append(kept, p)
	}
	return kept
}

// isLike tells whether p and o, of as many tokens, have the same separators and agree in enough words.
func (p *pattern) isLike(o *pattern) bool {
	same, words := 0, 0
	for i, t := range p.tokens {
		equal := t == o.tokens[i]
		if t != wildcard && isSeparator(t[0]) || o.tokens[i] != wildcard && isSeparator(o.tokens[i][0]) {
			if !equal {
				return false
			}
			continue
		}
		words++
		if equal {
			same++
		}
	}
	return float64(same) >= similar*float64(words)
}

// join adds o, which is like p.
func (p *pattern) join(o *pattern) {
	for i, t := range p.tokens {
		if t != o.tokens[i] {
			p.tokens[i] = wildcard
		}
	}
	for at, n := range o.counts {
		p.counts[at] += n
	}
	p.total += o.total
}

func (p *pattern) text() string { return strings.Join(p.tokens, "") }

func (p *pattern) samples() []PatternSample {
	samples := make([]PatternSample, 0, len(p.counts))
	for at, n := range p.counts {
		samples = append(samples, PatternSample{Time: at / int64(time.Second), Count: int64(math.Round(n))})
	}
	slices.SortFunc(samples, func(a, b PatternSample) int { return cmp.Compare(a.Time, b.Time) })
	return samples
}
