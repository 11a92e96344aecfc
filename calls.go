package loki

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/grafana/dskit/user"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/distributor"
	"example.com/loki/frontend"
	"example.com/loki/ingester"
	"example.com/loki/logql"
	"example.com/loki/logql/syntax"
	"example.com/loki/querier"
)

// Line is a log line to push.
type Line struct {
	// Labels name the stream, like {app="api", env="prod"}. Streams should be few: what differs from
	// line to line belongs into Metadata.
	Labels string
	// Time is when it happened. Zero means now.
	Time time.Time
	// Text is the line itself. It may hold any bytes.
	Text string
	// Metadata are names and values that belong to this line alone, such as a trace id. nil for none.
	Metadata map[string]string
}

// Push stores lines. When it returns nil they are durable and can be queried. If some were refused, the
// error is a *distributor.PushError that says which and why; all others are stored then. Lines are
// stored in the order given where their times are equal.
func (e *Engine) Push(ctx context.Context, lines ...Line) error {
	ctx, done, err := e.enterPush(ctx)
	if err != nil {
		return err
	}
	defer done()
	if len(lines) == 0 {
		return nil
	}
	return e.write.Push(ctx, e.pushRequest(lines))
}

// pushRequest groups lines by stream.
func (e *Engine) pushRequest(lines []Line) *distributor.PushRequest {
	req := &distributor.PushRequest{}
	index := make(map[string]int)
	now := e.cfg.Now().UnixNano()
	for _, l := range lines {
		i, ok := index[l.Labels]
		if !ok {
			i = len(req.Streams)
			index[l.Labels] = i
			req.Streams = append(req.Streams, distributor.Stream{Text: l.Labels})
		}
		entry := ingester.Entry{Time: now, Line: []byte(l.Text)}
		if !l.Time.IsZero() {
			entry.Time = l.Time.UnixNano()
		}
		for name, value := range l.Metadata {
			entry.Metadata = append(entry.Metadata, ingester.Field{Name: name, Value: []byte(value)})
		}
		req.Streams[i].Entries = append(req.Streams[i].Entries, entry)
		req.Size += len(l.Text)
	}
	return req
}

// Entry is a log line that a query found.
type Entry struct {
	Time     time.Time
	Labels   labels.Labels // of its stream
	Text     string
	Metadata labels.Labels // structured metadata, among it detected_level
	Parsed   labels.Labels // labels that stages of the query have made
}

// QueryOption narrows a query.
type QueryOption func(*logql.Params)

// Last makes a query look at the time d before now. Without it or Between it is the last hour.
func Last(d time.Duration) QueryOption {
	return func(p *logql.Params) { p.Start = p.End - int64(d) }
}

// Between makes a query look at lines that are not older than start and older than end.
func Between(start, end time.Time) QueryOption {
	return func(p *logql.Params) { p.Start, p.End = start.UnixNano(), end.UnixNano() }
}

// Limit makes a query return at most n lines. Without it, it is as many as the tenant's limit
// MaxEntriesLimitPerQuery allows.
func Limit(n int) QueryOption {
	return func(p *logql.Params) { p.Limit = n }
}

// OldestFirst makes a query return the oldest lines, in ascending order. Without it, it returns the
// newest, in descending order.
func OldestFirst() QueryOption {
	return func(p *logql.Params) { p.Direction = logql.Forward }
}

// Query yields the lines that a LogQL log query selects, newest first. An error ends the sequence.
func (e *Engine) Query(ctx context.Context, query string, options ...QueryOption) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		res, err := e.run(ctx, query, true, options)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		if res.Type != logql.ResultStreams {
			yield(Entry{}, fmt.Errorf("loki: %q is a metric query: use QueryRange or QueryInstant", query))
			return
		}
		forward := false
		for _, o := range options {
			var p logql.Params
			o(&p)
			forward = forward || p.Direction == logql.Forward
		}
		for entry := range inOrder(res.Streams, forward) {
			if !yield(entry, nil) {
				return
			}
		}
	}
}

// inOrder yields the entries of all streams by time; equal times in the order of streams.
func inOrder(streams []logql.StreamResult, forward bool) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		next := make([]int, len(streams))
		for {
			best := -1
			for i, s := range streams {
				if next[i] == len(s.Entries) {
					continue
				}
				if best < 0 {
					best = i
					continue
				}
				a, b := s.Entries[next[i]].Time, streams[best].Entries[next[best]].Time
				if a != b && (a < b) == forward {
					best = i
				}
			}
			if best < 0 {
				return
			}
			s := streams[best]
			if !yield(toEntry(s.Labels, s.Entries[next[best]])) {
				return
			}
			next[best]++
		}
	}
}

func toEntry(stream labels.Labels, r logql.EntryResult) Entry {
	return Entry{Time: time.Unix(0, r.Time), Labels: stream, Text: r.Line, Metadata: r.Metadata, Parsed: r.Parsed}
}

// QueryRange evaluates a LogQL query. A metric query gives a matrix with points a step apart between
// start and end, both included; a log query gives streams, and its step is ignored.
func (e *Engine) QueryRange(ctx context.Context, query string, start, end time.Time, step time.Duration, options ...QueryOption) (*logql.Result, error) {
	if step <= 0 {
		return nil, fmt.Errorf("loki: the step %v is not positive", step)
	}
	return e.run(ctx, query, false, append([]QueryOption{Between(start, end), func(p *logql.Params) { p.Step = step }}, options...))
}

// QueryInstant evaluates a LogQL metric query at one moment; the answer is a vector or a scalar.
func (e *Engine) QueryInstant(ctx context.Context, query string, at time.Time) (*logql.Result, error) {
	res, err := e.run(ctx, query, false, []QueryOption{Between(at, at)})
	if err == nil && res.Type == logql.ResultStreams {
		return nil, fmt.Errorf("loki: %q is a log query: use Query or QueryRange", query)
	}
	return res, err
}

func (e *Engine) run(ctx context.Context, query string, categorize bool, options []QueryOption) (*logql.Result, error) {
	ctx, done, err := e.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	p := logql.Params{Query: query, Categorize: categorize, End: e.cfg.Now().UnixNano() + 1}
	p.Start = p.End - int64(time.Hour)
	for _, o := range options {
		o(&p)
	}
	if p.Limit == 0 {
		id, _ := user.ExtractOrgID(ctx)
		p.Limit = e.cfg.Limits(id).MaxEntriesLimitPerQuery
	}
	res, err := e.read.Query(ctx, &p)
	return res, ended(ctx, err)
}

// Labels returns the names of the labels of all streams with lines in the range, or of those that match
// a selector. Only the time range and nothing else of options counts.
func (e *Engine) Labels(ctx context.Context, selector string, options ...QueryOption) ([]string, error) {
	return lookup(e, ctx, selector, options, e.read.Labels)
}

// LabelValues returns the values of a label of all streams with lines in the range, or of those that
// match a selector.
func (e *Engine) LabelValues(ctx context.Context, name, selector string, options ...QueryOption) ([]string, error) {
	return lookup(e, ctx, selector, options, func(ctx context.Context, start, end int64, m []*labels.Matcher) ([]string, error) {
		return e.read.LabelValues(ctx, name, start, end, m)
	})
}

// Series returns the streams with lines in the range, or those that match a selector.
func (e *Engine) Series(ctx context.Context, selector string, options ...QueryOption) ([]labels.Labels, error) {
	return lookup(e, ctx, selector, options, func(ctx context.Context, start, end int64, m []*labels.Matcher) ([]labels.Labels, error) {
		return e.read.Series(ctx, start, end, [][]*labels.Matcher{m})
	})
}

// Stats returns how much the streams that match a selector hold in the range. What lies in segments that
// reach beyond the range is estimated.
func (e *Engine) Stats(ctx context.Context, selector string, options ...QueryOption) (frontend.IndexStats, error) {
	return lookup(e, ctx, selector, options, e.read.IndexStats)
}

// lookup runs a question about streams. An empty selector means all of them.
func lookup[T any](e *Engine, ctx context.Context, selector string, options []QueryOption, ask func(context.Context, int64, int64, []*labels.Matcher) (T, error)) (T, error) {
	var none T
	ctx, done, err := e.enter(ctx)
	if err != nil {
		return none, err
	}
	defer done()
	var matchers []*labels.Matcher
	if selector != "" {
		if matchers, err = syntax.ParseMatchers(selector); err != nil {
			return none, err
		}
	}
	p := logql.Params{End: e.cfg.Now().UnixNano() + 1}
	p.Start = p.End - int64(time.Hour)
	for _, o := range options {
		o(&p)
	}
	res, err := ask(ctx, p.Start, p.End, matchers)
	return res, ended(ctx, err)
}

// Tail yields lines that match a LogQL log query as they are pushed, from now on, until ctx is done, the
// engine is closed or the loop is left. A reader that is too slow loses lines; the sequence then yields
// a *DroppedError and goes on.
func (e *Engine) Tail(ctx context.Context, query string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		ctx, done, err := e.enter(ctx)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		defer done()
		req := &querier.TailRequest{Query: query, Start: e.cfg.Now().UnixNano(), Categorize: true}
		for res, err := range e.read.Tail(ctx, req) {
			if err != nil {
				yield(Entry{}, ended(ctx, err))
				return
			}
			if res.Dropped > 0 && !yield(Entry{}, &DroppedError{Entries: res.Dropped}) {
				return
			}
			for entry := range inOrder(res.Streams, true) {
				if !yield(entry, nil) {
					return
				}
			}
		}
		if err := ended(ctx, context.Cause(ctx)); errors.Is(err, ErrClosed) {
			yield(Entry{}, err)
		}
	}
}

// DroppedError tells the reader of a tail that it was too slow.
type DroppedError struct{ Entries int }

func (d *DroppedError) Error() string {
	return fmt.Sprintf("loki: the reader of a tail was too slow: %d lines were left out", d.Entries)
}

// Flush writes everything that was pushed so far, of all tenants, into segments, and returns when it is
// stored. It is not needed for durability.
func (e *Engine) Flush(ctx context.Context) error {
	ctx, done, err := e.enter(ctx)
	if err != nil {
		return err
	}
	defer done()
	if e.parts.Ingester == nil {
		return notHere(Ingester)
	}
	return ended(ctx, e.parts.Ingester.Flush(ctx, ""))
}

// ended replaces the error of a call that was cut short by Close.
func ended(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), ErrClosed) {
		return ErrClosed
	}
	return err
}
