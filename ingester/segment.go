package ingester

import (
	"context"

	"example.com/loki/store"
)

// segment yields the rows of a part that is sealed and quiet, as the store wants them.
func (p *part) segment(ctx context.Context, t *tenant) store.Rows {
	return func(yield func(*store.StreamRows, error) bool) {
		var out store.StreamRows
		var lines []byte
		var meta metadataColumns
		order := inLabelOrder(p.streams)
		for n, s := range order {
			if n%touchedAtOnce == 0 {
				p.touch(t, order[n:min(n+touchedAtOnce, len(order))])
			}
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			// Readers may put the rows in order meanwhile.
			t.mu.RLock()
			rows, clean := s.rows, int(s.clean)
			t.mu.RUnlock()
			if len(rows) == 0 {
				continue
			}
			g := gathered{rows: tidy(rows, clean, p.blocks), blocks: p.blocks, names: p.names.Load()}
			out.Labels = s.Labels
			out.Times = g.times(out.Times)
			out.Lines, lines = g.lines(out.Lines.Offsets, lines)
			out.Metadata = meta.gather(g)
			if !yield(&out, nil) {
				return
			}
		}
	}
}

// touchedAtOnce is how many streams are fetched into the caches of the processor together.
const touchedAtOnce = 32

// touch looks at what the next streams take up in memory. In the order of labels each of them lies somewhere else, and so do
// its labels, rows and lines; where there are very many streams of few rows, most of the time is spent waiting for one place
// after the other. Here nothing depends on the stream before, so the processor waits for many at once. What it returns
// only keeps the loops from being left out.
func (p *part) touch(t *tenant, streams []*stream) (sum uint32) {
	for _, s := range streams {
		sum += s.ref
	}
	for _, s := range streams {
		sum += uint32(s.Labels.Len())
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, s := range streams {
		if len(s.rows) > 0 {
			sum += s.rows[0].len
		}
	}
	for _, s := range streams {
		for _, r := range s.rows[:min(len(s.rows), firstRows)] {
			b := p.blocks[r.block][r.off:][:r.len]
			for at := 0; at < len(b) && at < 1024; at += 64 {
				sum += uint32(b[at])
			}
		}
	}
	return sum
}
