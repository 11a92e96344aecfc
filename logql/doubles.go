package logql

import (
	"context"
	"sync"

	"example.com/loki/logql/column"
	"example.com/loki/logql/pipeline"
)

// rowHash is the identity of an entry: of its stream, time, line and metadata. With 128 bits, two
// entries of a query with a billion shared rows are confused with a probability below 10^-20, those of the same
// stream and nanosecond with 2^-64.
type rowHash [2]uint64

// seenSet remembers the shared rows that have been counted. It is asked only for rows that passed the
// pipeline and lie in runs marked Shared, so a query over parts that don't overlap pays nothing; one
// over doubles pays some 50 bytes of memory and a hash of the line for each such row. Several
// goroutines may use it.
type seenSet struct {
	budget *budget
	shards [16]struct {
		mu   sync.Mutex
		rows map[rowHash]struct{} // guarded by mu
	}
}

// seenSize is what a row takes in the set, with the growth of the map.
const seenSize = 48

func newSeenSet(mem *budget) *seenSet { return &seenSet{budget: mem} }

// add tells whether h is new, and remembers it.
func (s *seenSet) add(h rowHash) (first bool, err error) {
	shard := &s.shards[h[0]%uint64(len(s.shards))]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if _, ok := shard.rows[h]; ok {
		return false, nil
	}
	if err := s.budget.take(seenSize, "entries that were stored twice"); err != nil {
		return false, err
	}
	if shard.rows == nil {
		shard.rows = map[rowHash]struct{}{}
	}
	shard.rows[h] = struct{}{}
	return true, nil
}

// rowHasher hashes rows of one batch at a time.
type rowHasher struct {
	batch  *column.Batch
	hasher column.Hasher
	ready  bool // the hasher has been reset for the batch
}

// reset makes the hasher ready for the rows of b.
func (h *rowHasher) reset(b *column.Batch) { h.batch, h.ready = b, false }

// hash returns the identity of a row as it is stored, whatever the pipeline made of it.
func (h *rowHasher) hash(ctx context.Context, row *pipeline.Row) (rowHash, error) {
	if !h.ready {
		if err := h.hasher.Reset(ctx, h.batch.Columns); err != nil {
			return rowHash{}, err
		}
		h.ready = true
	}
	held := h.hasher.Row(row.Index)
	stream, time := h.batch.Runs[row.Run].Stream.Hash, uint64(row.Time)
	// Entries of one stream and time differ in what they hold alone; for all others both halves differ.
	return rowHash{column.Mix(column.Mix(stream, time), held), column.Mix(column.Mix(held, time), stream)}, nil
}
