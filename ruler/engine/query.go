package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/grafana/dskit/backoff"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/parser/posrange"
	"github.com/prometheus/prometheus/rules"

	"example.com/loki/frontend"
	"example.com/loki/logql"
	"example.com/loki/logql/syntax"
)

// expr passes a LogQL query through the rules manager, which only prints it.
type expr struct{ text string }

var _ parser.Expr = expr{}

// String implements parser.Node.
func (e expr) String() string { return e.text }

// Pretty implements parser.Node.
func (e expr) Pretty(int) string { return e.text }

// PositionRange implements parser.Node.
func (e expr) PositionRange() posrange.PositionRange {
	return posrange.PositionRange{End: posrange.Pos(len(e.text))}
}

// Type implements parser.Expr.
func (e expr) Type() parser.ValueType { return parser.ValueTypeVector }

// PromQLExpr implements parser.Expr.
func (e expr) PromQLExpr() {}

// query is the rules.QueryFunc of a group. The context carries the tenant.
func (g *group) query(ctx context.Context, q string, at time.Time) (promql.Vector, error) {
	if wanted, ok := strings.CutPrefix(q, linesQuery); ok {
		return g.lines(ctx, wanted, at), nil
	}
	t := at.UnixNano()
	res, err := g.ask(ctx, &logql.Params{Query: q, Start: t, End: t, Limit: 1})
	if err != nil {
		return nil, err
	}
	ms := at.UnixMilli()
	switch res.Type {
	case logql.ResultVector:
		v := make(promql.Vector, 0, len(res.Series))
		for _, s := range res.Series {
			if len(s.Points) > 0 {
				v = append(v, promql.Sample{T: ms, F: s.Points[len(s.Points)-1].Value, Metric: s.Labels})
			}
		}
		return v, nil
	case logql.ResultScalar:
		return promql.Vector{{T: ms, F: res.Scalar.Value}}, nil
	default:
		return nil, fmt.Errorf("the query gives %s; a rule needs numbers", res.Type)
	}
}

// ask runs a query, and once more if that failed for no fault of the query.
func (g *group) ask(ctx context.Context, p *logql.Params) (*logql.Result, error) {
	retry := backoff.New(ctx, backoff.Config{MinBackoff: 200 * time.Millisecond, MaxBackoff: 2 * time.Second, MaxRetries: 3})
	var err error
	for retry.Ongoing() {
		var res *logql.Result
		if res, err = g.tenant.r.querier.Query(ctx, p); err == nil {
			return res, nil
		}
		var parse *syntax.ParseError
		var query *logql.QueryError
		var limit *frontend.LimitError
		if errors.As(err, &parse) || errors.As(err, &query) || errors.As(err, &limit) {
			return nil, err
		}
		retry.Wait()
	}
	if err == nil {
		err = retry.Err()
	}
	return nil, err
}

// Sample lines. Templates of Prometheus can't be given functions, but they can query. So what
// {{ template "lines" . }} stands for asks for a query that is none, with the labels of the alert in it.
const (
	linesQuery  = "sample lines:"
	linesDefine = `{{ define "lines" }}{{ $q := "` + linesQuery + `" }}` +
		`{{ range $name, $value := .Labels }}{{ $q = printf "%s %s=%q" $q $name $value }}{{ end }}` +
		`{{ range $i, $l := query $q }}{{ if $i }}{{ "\n" }}{{ end }}{{ $l.Labels.line }}{{ end }}{{ end }}`

	maxLineBytes = 1 << 10 // of a line in an annotation
	maxLineAsks  = 20      // for lines, in one evaluation of a group
)

// withLines makes the template known to those texts that use it.
func withLines(text string) string {
	if strings.Contains(text, `"lines"`) && !strings.Contains(text, "define") {
		return linesDefine + text
	}
	return text
}

// lines returns some of the lines that the rule which is being evaluated counts, for the alert with these labels.
// It never fails: an alert without its lines is better than none.
func (g *group) lines(ctx context.Context, wanted string, at time.Time) promql.Vector {
	say := func(format string, args ...any) promql.Vector {
		return promql.Vector{{Metric: labels.FromStrings("line", "("+fmt.Sprintf(format, args...)+")")}}
	}
	if g.lineAsks.Add(1) > maxLineAsks {
		return say("no sample lines: too many alerts at a time")
	}
	set, err := parseWanted(wanted)
	if err != nil {
		return say("no sample lines: %v", err)
	}
	q, back, offset, err := linesOf(rules.FromOriginContext(ctx).Query, set)
	if err != nil {
		return say("no sample lines: %v", err)
	}
	end := at.Add(-offset).UnixNano() + 1
	res, err := g.ask(ctx, &logql.Params{Query: q, Start: end - int64(back), End: end, Limit: g.tenant.r.cfg.SampleLines})
	if err != nil {
		return say("no sample lines: %v", err)
	}
	var v promql.Vector
	for _, s := range res.Streams {
		for _, e := range s.Entries {
			line := e.Line
			if len(line) > maxLineBytes {
				line = strings.ToValidUTF8(line[:maxLineBytes], "") + fmt.Sprintf("… (%d bytes more)", len(e.Line)-maxLineBytes)
			}
			v = append(v, promql.Sample{T: e.Time / 1e6, Metric: labels.FromStrings("line", strings.ToValidUTF8(line, "\uFFFD"))})
		}
	}
	return v
}

// parseWanted reads the labels that the template has written.
func parseWanted(text string) ([]labels.Label, error) {
	var all []labels.Label
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		name, rest, ok := strings.Cut(text, "=")
		quoted, err := strconv.QuotedPrefix(rest)
		if !ok || err != nil {
			return nil, errors.New("malformed labels")
		}
		value, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, errors.New("malformed labels")
		}
		all = append(all, labels.Label{Name: name, Value: value})
		text = rest[len(quoted):]
	}
	return all, nil
}

// linesOf returns the query for the lines that the first aggregation of a metric query counts, of those with the
// given labels, and how far back it looks.
func linesOf(query string, set []labels.Label) (q string, back, offset time.Duration, err error) {
	e, err := syntax.Parse(query)
	if err != nil {
		return "", 0, 0, err
	}
	var first *syntax.RangeAggregation
	made := map[string]bool{} // labels that the lines don't have
	syntax.Walk(e, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.RangeAggregation:
			if first == nil {
				first = n
			}
			return false
		case *syntax.LabelReplace:
			made[n.Destination] = true
		}
		return true
	})
	if first == nil {
		return "", 0, 0, errors.New("the rule counts no lines")
	}
	log := *first.Log
	log.Stages = append([]syntax.Stage(nil), log.Stages...)
	for _, l := range set {
		if made[l.Name] {
			continue
		}
		m, err := labels.NewMatcher(labels.MatchEqual, l.Name, l.Value)
		if err != nil {
			return "", 0, 0, err
		}
		log.Stages = append(log.Stages, &syntax.LabelFilterStage{Filter: &syntax.MatchFilter{Matcher: m}})
	}
	return log.String(), first.Range, first.Offset, nil
}
