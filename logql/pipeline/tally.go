package pipeline

import (
	"context"

	"example.com/loki/logql/column"
)

// Count is Run for a consumer that does no more than count the rows of each group. Where rows of a run have groups
// of their own, and the run is not shared, it calls emit only for rows with an error. The others are counted where
// their groups are found, which is memory that a row must look at anyway: see Counts. It returns how many it has
// counted so.
func (w *Worker) Count(ctx context.Context, b *column.Batch, from, through int64, emit func(*Row) bool) (int64, error) {
	t := &w.groups.tally
	t.on = true
	before := t.rows
	err := w.Run(ctx, b, from, through, emit)
	w.groups.settle()
	t.on = false
	return t.rows - before, err
}

// Counts calls f with the number of rows of each group that Count has counted any of, until f fails, and forgets
// them. Less than 1<<32 rows may be counted before.
func (w *Worker) Counts(f func(group int, rows int64) error) error {
	slots := w.groups.byKey.slots
	for i := range slots {
		if s := &slots[i]; s.count > 0 {
			if err := f(int(s.number)-1, int64(s.count)); err != nil {
				return err
			}
			s.count = 0
		}
	}
	return nil
}

// tally counts rows by group. Keys wait until there are some: their slots lie in no cache, and the processor can
// fetch them all at the same time.
type tally struct {
	on      bool // Count is at work
	keyed   bool // and rows of the run are counted
	rows    int64
	waiting [tallyKeys]waitingKey
	n       int // of waiting
	touched uint32
}

const tallyKeys = 32

// waitingKey is a key that fits into a slot.
type waitingKey struct {
	hash, size uint32
	key        [shortKey]byte
}

// startRun finds out whether rows of the worker's run are counted.
func (t *tally) startRun(w *Worker) {
	g := &w.groups
	t.keyed = t.on && g.without == nil && g.runGroup < 0 && g.column < 0 && !w.batch.Runs[w.run].Shared
}

// count counts the current row.
func (g *groupTable) count(w *Worker) {
	t := &g.tally
	w.loadRow()
	key := g.nameKey(w)
	t.rows++
	g.byKey.begin()
	hash := g.byKey.hash(key)
	if len(key) > shortKey {
		g.countKey(key, hash)
		return
	}
	k := &t.waiting[t.n]
	k.hash, k.size = hash, uint32(len(key))
	copy(k.key[:], key)
	if t.n++; t.n == len(t.waiting) {
		g.settle()
	}
}

// settle counts the keys that wait.
func (g *groupTable) settle() {
	t := &g.tally
	waiting := t.waiting[:t.n]
	slots := g.byKey.slots
	for i := range waiting {
		t.touched += slots[waiting[i].hash&uint32(len(slots)-1)].hash
	}
	for i := range waiting {
		k := &waiting[i]
		g.countKey(k.key[:k.size], k.hash)
	}
	t.n = 0
}

// countKey counts a row with that key.
func (g *groupTable) countKey(key []byte, hash uint32) {
	s := g.byKey.find(key, hash)
	if s.number == 0 {
		s = g.byKey.put(key, hash, g.intern(g.ofKey(key)))
	}
	s.count++
}
