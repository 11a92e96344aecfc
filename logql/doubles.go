package logql

import (
	"context"
	"encoding/binary"
	"sync"

	"github.com/cespare/xxhash/v2"

	"example.com/loki/logql/column"
	"example.com/loki/logql/pipeline"
)

// rowHash is the identity of an entry: of its stream, time, line and metadata. With 128 bits, two
// entries of a query with a billion shared rows are confused with a probability below 10^-20.
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
	batch   *column.Batch
	lines   column.Lines
	names   []string
	columns []column.Metadata
	buf     []byte
}

// reset makes the hasher ready for the rows of b.
func (h *rowHasher) reset(b *column.Batch) { h.batch = b; h.columns = nil; h.lines = column.Lines{} }

// hash returns the identity of a row as it is stored, whatever the pipeline made of it.
func (h *rowHasher) hash(ctx context.Context, row *pipeline.Row) (rowHash, error) {
	if h.lines.Offsets == nil {
		if err := h.load(ctx); err != nil {
			return rowHash{}, err
		}
	}
	line := h.lines.Row(row.Index)
	b := binary.LittleEndian.AppendUint64(h.buf[:0], h.batch.Runs[row.Run].Stream.Hash)
	b = binary.LittleEndian.AppendUint64(b, uint64(row.Time))
	b = binary.AppendUvarint(b, uint64(len(line)))
	b = append(b, line...)
	for i, name := range h.names {
		v, ok := h.columns[i].Row(row.Index)
		if !ok {
			continue
		}
		b = binary.AppendUvarint(b, uint64(len(name)))
		b = append(b, name...)
		b = binary.AppendUvarint(b, uint64(len(v)))
		b = append(b, v...)
	}
	h.buf = b
	first := xxhash.Sum64(b)
	// The second half sees the same bytes from another beginning.
	var d xxhash.Digest
	d.ResetWithSeed(0x9e3779b97f4a7c15)
	d.Write(b)
	return rowHash{first, d.Sum64()}, nil
}

func (h *rowHasher) load(ctx context.Context) (err error) {
	if h.lines, err = h.batch.Lines(ctx); err != nil {
		return err
	}
	if h.names, err = h.batch.MetadataNames(ctx); err != nil {
		return err
	}
	h.columns = make([]column.Metadata, len(h.names))
	for i, name := range h.names {
		if h.columns[i], err = h.batch.Metadata(ctx, name); err != nil {
			return err
		}
	}
	return nil
}
