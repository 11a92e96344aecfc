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
		for _, s := range inLabelOrder(p.streams) {
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
