package querier

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
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

// settle is how long after the end of reading history live entries may still be the same ones.
const settle = time.Second

// Tail implements Service.
//
// The live entries are subscribed to before history is read, so none is missed; those that are in both
// are recognised by what was sent of them.
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
	live := q.heads.Tail(ctx, selection.Matchers)

	history, err := q.history(ctx, req, options)
	if err != nil {
		return fmt.Errorf("read history: %w", err)
	}
	sent := remember(history)
	until := time.Now().Add(settle)
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
		if sent != nil {
			streams = sent.without(streams)
			if batch.At.After(until) || len(sent) == 0 {
				sent = nil
			}
		}
		if len(streams) == 0 && batch.Dropped == 0 {
			continue
		}
		if !yield(&TailResponse{Streams: streams, Dropped: batch.Dropped}, nil) {
			return nil
		}
	}
	return nil
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

// memory is the entries that a tail has sent from history: how often each.
type memory map[uint64]int

func remember(streams []logql.StreamResult) memory {
	m := memory{}
	for i := range streams {
		h := labels.StableHash(streams[i].Labels)
		for j := range streams[i].Entries {
			m[entryHash(h, &streams[i].Entries[j])]++
		}
	}
	return m
}

// without removes the entries that are in m from streams and from m. It changes streams.
func (m memory) without(streams []logql.StreamResult) []logql.StreamResult {
	kept := streams[:0]
	for _, s := range streams {
		h := labels.StableHash(s.Labels)
		s.Entries = slices.DeleteFunc(s.Entries, func(e logql.EntryResult) bool {
			k := entryHash(h, &e)
			n := m[k]
			switch n {
			case 0:
				return false
			case 1:
				delete(m, k)
			default:
				m[k] = n - 1
			}
			return true
		})
		if len(s.Entries) > 0 {
			kept = append(kept, s)
		}
	}
	return kept
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
