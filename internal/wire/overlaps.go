package wire

import (
	"example.com/loki/internal/wire/wirepb"
	"example.com/loki/logql"
)

// overlapsPerPiece is about a piece of them.
const overlapsPerPiece = 8 << 10

// Overlaps sends what the request's reader asked for: before the first batch, once.
func (s *BatchSender) Overlaps(all []logql.Overlap) error {
	for {
		n := min(len(all), overlapsPerPiece)
		m := &wirepb.SelectPiece{NoBatch: true, More: n < len(all)}
		for _, o := range all[:n] {
			m.Overlaps = append(m.Overlaps, &wirepb.Overlap{Stream: o.Stream, Any: o.Any, MinTime: o.MinTime, MaxTime: o.MaxTime})
		}
		if err := s.send(m); err != nil || !m.More {
			return err
		}
		all = all[n:]
	}
}

// OverlapReceiver puts overlaps together.
type OverlapReceiver struct {
	// Take is called with all of them. It may be nil.
	Take func([]logql.Overlap)
	all  []logql.Overlap
}

// Add takes a message. It returns false if that is about a batch.
func (r *OverlapReceiver) Add(m *wirepb.SelectPiece) bool {
	if !m.NoBatch {
		return false
	}
	for _, o := range m.Overlaps {
		r.all = append(r.all, logql.Overlap{Stream: o.Stream, Any: o.Any, MinTime: o.MinTime, MaxTime: o.MaxTime})
	}
	if !m.More && r.Take != nil {
		r.Take(r.all)
	}
	return true
}
