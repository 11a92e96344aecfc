package logql

import "sync/atomic"

// budget counts the memory that the goroutines of a task hold. It counts what grows with the data:
// group tables, kept entries, samples and the hashes of doubles. Columns belong to the source.
type budget struct {
	limit int64 // 0: none
	used  atomic.Int64
}

// take adds n bytes for what; it fails when the limit is passed.
func (b *budget) take(n int64, what string) error {
	if used := b.used.Add(n); b.limit > 0 && used > b.limit {
		return errMemoryLimit(b.limit, what)
	}
	return nil
}

// give returns n bytes.
func (b *budget) give(n int64) { b.used.Add(-n) }
