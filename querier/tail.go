package querier

import (
	"context"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/grafana/dskit/backoff"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/ingester"
	"example.com/loki/logql"
	"example.com/loki/logql/column"
	"example.com/loki/logql/syntax"
)

// ahead is how far in the future the times of entries in a tail's history may lie: clients' clocks
// differ.
const ahead = time.Hour

// forever is a time after all entries, and far enough from the end of int64 to calculate with.
const forever = int64(1) << 62

// tailMemory is how many of its entries a tail remembers at least, to send none twice.
const tailMemory = 1 << 15

// beforeGap is how much older than a gap the times of entries may be that came during the gap.
const beforeGap = time.Minute

// fillAtOnce is how many entries of a gap are read at once, fillTries how often that is tried.
const (
	fillAtOnce = 5000
	fillTries  = 5
)

// Tail implements Service.
//
// The live entries are subscribed to before history is read, so none is missed; those that are in both
// are recognised by what was sent of them. When ingesters were away so that live entries may have been missed,
// those are read as soon as the ingesters are back: entries whose times are more than beforeGap older than the
// gap, and more than ahead in the future, are not found then.
func (q *Querier) Tail(ctx context.Context, req *TailRequest) iter.Seq2[*TailResponse, error] {
	return func(yield func(*TailResponse, error) bool) {
		q.metrics.tails.Inc()
		defer q.metrics.tails.Dec()
		if err := q.tail(ctx, req, yield); err != nil && ctx.Err() == nil {
			yield(nil, err)
		}
	}
}

// tail returns an error if it was not yield that ended it.
func (q *Querier) tail(ctx context.Context, req *TailRequest, yield func(*TailResponse, error) bool) error {
	options, err := q.options(ctx)
	if err != nil {
		return err
	}
	options.MaxSeries = 0
	selection, err := syntax.ParseLog(req.Query)
	if err != nil {
		return err
	}
	// A reader that leaves must end the subscription although the caller's context goes on.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now()
	live := q.heads.Tail(ctx, selection.Matchers)

	history, err := q.history(ctx, req, options)
	if err != nil {
		return fmt.Errorf("read history: %w", err)
	}
	sent := newMemory(tailMemory)
	history = sent.read(history)
	sent.startAt(began, req.Limit, history)
	if len(history) > 0 && !yield(&TailResponse{Streams: history}, nil) {
		return nil
	}

	for batch, err := range live {
		if err != nil {
			return fmt.Errorf("tail ingester: %w", err)
		}
		if batch.Dropped > 0 {
			q.metrics.tailDropped.Add(float64(batch.Dropped))
		}
		streams, err := q.runLive(ctx, req, batch, options)
		if err != nil {
			return err
		}
		streams = sent.live(streams)
		if (len(streams) > 0 || batch.Dropped > 0) && !yield(&TailResponse{Streams: streams, Dropped: batch.Dropped, Lost: batch.Lost}, nil) {
			return nil
		}
		if !batch.Gap.IsZero() {
			if more, err := q.fill(ctx, req, batch.Gap, sent, options, yield); err != nil || !more {
				return err
			}
		}
	}
	return nil
}

// fill sends what a tail has missed since a gap began. It returns false after yield has.
func (q *Querier) fill(ctx context.Context, req *TailRequest, gap time.Time, sent *memory, o logql.Options, yield func(*TailResponse, error) bool) (bool, error) {
	start, end := max(gap.Add(-beforeGap).UnixNano(), sent.horizon+1), time.Now().Add(ahead).UnixNano()
	retry := backoff.New(ctx, backoff.Config{MinBackoff: 100 * time.Millisecond, MaxBackoff: 5 * time.Second, MaxRetries: fillTries})
	for start < end {
		res, err := logql.Query(ctx, logql.Params{
			Query:      req.Query,
			Start:      start,
			End:        end,
			Limit:      fillAtOnce,
			Direction:  logql.Forward,
			Categorize: req.Categorize,
		}, q.filtered(ctx, q.source()), o)
		if err != nil {
			if retry.Wait(); retry.Ongoing() {
				continue // they have only just come back
			}
			return false, fmt.Errorf("read what was missed: %w", err)
		}
		entries, last := 0, start
		for _, s := range res.Streams {
			entries += len(s.Entries)
			for i := range s.Entries {
				last = max(last, s.Entries[i].Time)
			}
		}
		if streams := sent.read(res.Streams); len(streams) > 0 && !yield(&TailResponse{Streams: streams}, nil) {
			return false, nil
		}
		if entries < fillAtOnce {
			return true, nil
		}
		start = max(last, start+1) // more than fillAtOnce entries of one nanosecond are not paged through
	}
	return true, nil
}

// history returns the newest entries since req.Start, oldest first in each stream.
func (q *Querier) history(ctx context.Context, req *TailRequest, o logql.Options) ([]logql.StreamResult, error) {
	end := time.Now().Add(ahead).UnixNano()
	if req.Limit <= 0 || req.Start >= end {
		return nil, nil
	}
	res, err := logql.Query(ctx, logql.Params{
		Query:      req.Query,
		Start:      req.Start,
		End:        end,
		Limit:      req.Limit,
		Direction:  logql.Backward,
		Categorize: req.Categorize,
	}, q.filtered(ctx, q.source()), o)
	if err != nil {
		return nil, err
	}
	for _, s := range res.Streams {
		slices.Reverse(s.Entries)
	}
	return res.Streams, nil
}

// runLive applies the query to entries that have just been pushed.
func (q *Querier) runLive(ctx context.Context, req *TailRequest, batch *ingester.TailBatch, o logql.Options) ([]logql.StreamResult, error) {
	b, rows := batchOf(batch)
	if rows == 0 {
		return nil, nil
	}
	res, err := logql.Query(ctx, logql.Params{
		Query:      req.Query,
		Start:      0,
		End:        forever,
		Limit:      rows,
		Direction:  logql.Forward,
		Categorize: req.Categorize,
	}, q.filtered(ctx, oneBatch{b}), o)
	if err != nil {
		return nil, err
	}
	return res.Streams, nil
}

// oneBatch is a source of rows that all match.
type oneBatch struct{ batch *column.Batch }

// Select implements logql.Source.
func (o oneBatch) Select(context.Context, *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	return func(yield func(*column.Batch, error) bool) { yield(o.batch, nil) }
}

// memory is the entries that a tail has sent, as far as it remembers.
type memory struct {
	most     int // entries in each generation
	new, old generation
	horizon  int64 // entries up to this time may have been sent and forgotten
}

// generation is entries by hash, and the latest of their times.
type generation struct {
	entries map[uint64]copies
	latest  int64
}

// copies counts the entries of a hash: stages can make different entries equal.
type copies struct {
	sent int
	live int // that came as they were pushed, whether they were sent then or had been before
}

func newMemory(most int) *memory {
	return &memory{most: most, new: generation{map[uint64]copies{}, math.MinInt64}, old: generation{latest: math.MinInt64}, horizon: math.MinInt64}
}

// startAt moves the horizon to where the history begins that a tail asked for: what is older was not wanted.
func (m *memory) startAt(began time.Time, limit int, history []logql.StreamResult) {
	if limit <= 0 {
		m.horizon = max(m.horizon, began.UnixNano())
		return
	}
	entries, oldest := 0, int64(math.MaxInt64)
	for _, st := range history {
		entries += len(st.Entries)
		for i := range st.Entries {
			oldest = min(oldest, st.Entries[i].Time)
		}
	}
	if entries >= limit {
		m.horizon = max(m.horizon, oldest)
	}
}

// live removes from streams, which it changes, what was read before it came, and remembers the others as sent.
func (m *memory) live(streams []logql.StreamResult) []logql.StreamResult {
	return m.filter(streams, func(h uint64, time int64) bool {
		c := m.get(h)
		c.live++
		fresh := c.live > c.sent
		c.sent = max(c.sent, c.live)
		m.set(h, time, c)
		return fresh
	})
}

// read removes from streams, which it changes, what was sent before it was read, and remembers the others as
// sent.
func (m *memory) read(streams []logql.StreamResult) []logql.StreamResult {
	found := map[uint64]int{}
	return m.filter(streams, func(h uint64, time int64) bool {
		found[h]++
		c := m.get(h)
		fresh := found[h] > c.sent
		c.sent = max(c.sent, found[h])
		m.set(h, time, c)
		return fresh
	})
}

func (m *memory) filter(streams []logql.StreamResult, keep func(hash uint64, time int64) bool) []logql.StreamResult {
	kept := streams[:0]
	for _, s := range streams {
		h := labels.StableHash(s.Labels)
		s.Entries = slices.DeleteFunc(s.Entries, func(e logql.EntryResult) bool { return !keep(entryHash(h, &e), e.Time) })
		if len(s.Entries) > 0 {
			kept = append(kept, s)
		}
	}
	return kept
}

func (m *memory) get(h uint64) copies {
	if c, ok := m.new.entries[h]; ok {
		return c
	}
	return m.old.entries[h]
}

func (m *memory) set(h uint64, time int64, c copies) {
	if len(m.new.entries) >= m.most {
		m.horizon = max(m.horizon, m.old.latest)
		m.old, m.new = m.new, generation{map[uint64]copies{}, math.MinInt64}
	}
	m.new.entries[h] = c
	m.new.latest = max(m.new.latest, time)
}

// entryHash tells entries of a tail apart, stream being the hash of their labels.
func entryHash(stream uint64, e *logql.EntryResult) uint64 {
	h := xxhash.Sum64String(e.Line)
	for _, v := range []uint64{stream, uint64(e.Time), labels.StableHash(e.Metadata), labels.StableHash(e.Parsed)} {
		h = (h ^ v) * 0x9e3779b97f4a7c15 // an odd constant: each step is a bijection of h
		h ^= h >> 32
	}
	return h
}
