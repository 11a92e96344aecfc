package frontend

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"example.com/loki/logql"
	"example.com/loki/logql/syntax"
)

// record is what a query's log line and metrics need to know.
type record struct {
	tenant string
	params *logql.Params
	expr   syntax.Expr // nil if it could not be parsed
	begin  time.Time
}

type tagsKey struct{}

// withTags returns a context with the tags that a client gave its query: "Source=logvolhist,Feature=x".
func withTags(ctx context.Context, tags string) context.Context {
	if tags == "" {
		return ctx
	}
	return context.WithValue(ctx, tagsKey{}, tags)
}

// done counts a query and writes its log line.
func (f *Frontend) done(ctx context.Context, rec *record, res *logql.Result, err error, took time.Duration) {
	var stats logql.Stats
	if res != nil {
		stats = res.Stats
	}
	code, kind, span := statusOf(err), kindOf(rec.expr), rangeOf(rec.params)
	status := strconv.Itoa(code)
	bytes := stats.LineBytes + stats.MetadataBytes
	f.metrics.latency.WithLabelValues(status, kind, span).Observe(took.Seconds())
	if bytes > 0 {
		f.metrics.bytesPerSecond.WithLabelValues(status, kind, span).Observe(perSecond(bytes, took))
		f.metrics.bytes.WithLabelValues(rec.tenant).Add(float64(bytes))
	}
	if f.log == nil || !f.log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	p := rec.params
	latency := "fast"
	if took > f.cfg.SlowQuery {
		latency = "slow"
	}
	attrs := []slog.Attr{
		slog.String("tenant", rec.tenant),
		slog.String("latency", latency),
		slog.String("query", p.Query),
		slog.Uint64("query_hash", uint64(queryHash(p.Query))),
		slog.String("query_type", kind),
		slog.String("range_type", span),
		slog.Duration("length", time.Duration(p.End-p.Start)),
		slog.Duration("start_delta", rec.begin.Sub(time.Unix(0, p.Start)).Round(time.Millisecond)),
		slog.Duration("end_delta", rec.begin.Sub(time.Unix(0, p.End)).Round(time.Millisecond)),
		slog.Duration("step", p.Step),
		slog.Duration("duration", took),
		slog.Int("status", code),
		slog.Int("limit", p.Limit),
		slog.Int64("returned_lines", stats.Returned),
		slog.String("throughput", humanBytes(perSecond(bytes, took))),
		slog.String("total_bytes", humanBytes(float64(bytes))),
		slog.String("total_bytes_structured_metadata", humanBytes(float64(stats.MetadataBytes))),
		slog.Int64("lines_per_second", int64(perSecond(stats.Rows, took))),
		slog.Int64("total_lines", stats.Rows),
		slog.Int64("post_filter_lines", stats.RowsKept),
		slog.Int64("total_entries", stats.Returned),
		slog.Duration("queue_time", stats.QueueTime),
		slog.Int("splits", stats.Tasks),
		slog.Int64("pages", stats.PagesTotal),
		slog.Int64("pages_read", stats.PagesRead),
		slog.String("read_bytes", humanBytes(float64(stats.ReadBytes))),
		slog.Int64("ingester_lines", stats.HeadRows),
	}
	tags, _ := ctx.Value(tagsKey{}).(string)
	for tag := range strings.SplitSeq(tags, ",") {
		if name, value, ok := strings.Cut(tag, "="); ok && name != "" {
			attrs = append(attrs, slog.String(strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)))
		}
	}
	if err != nil {
		attrs = append(attrs, slog.Any("error", err))
	}
	f.log.LogAttrs(ctx, slog.LevelInfo, "query", attrs...)
}

func humanBytes(n float64) string {
	return strings.ReplaceAll(humanize.Bytes(uint64(n)), " ", "")
}

func perSecond(n int64, took time.Duration) float64 {
	if took <= 0 {
		return 0
	}
	return float64(n) / took.Seconds()
}

// kindOf names the kind of a query as Loki's dashboards know it.
func kindOf(expr syntax.Expr) string {
	switch e := expr.(type) {
	case nil:
		return "invalid"
	case *syntax.LogExpr:
		if len(e.Stages) == 0 {
			return "limited"
		}
		return "filter"
	}
	if n, _ := rangesOf(expr); n == 0 {
		return "literal"
	}
	return "metric"
}

func rangeOf(p *logql.Params) string {
	if p.Step == 0 && p.Start == p.End {
		return "instant"
	}
	return "range"
}
