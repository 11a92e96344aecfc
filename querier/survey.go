package querier

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math"

	"github.com/grafana/dskit/tenant"

	"example.com/loki/store"
)

// Survey implements Service. It looks at the catalog and at the heads in the order in which Select does, so
// that what it calls settled is.
func (q *Querier) Survey(ctx context.Context, req *SurveyRequest) ([]SurveyPiece, error) {
	if len(req.Cuts) < 2 {
		return nil, nil
	}
	start, end := req.Cuts[0], req.Cuts[len(req.Cuts)-1]
	generation := q.generation(ctx)
	var segments []store.SegmentInfo
	var oldest int64
	err := q.fresh.read(ctx, func() (err error) {
		if segments, err = q.index.Segments(ctx, start, end); err != nil {
			return fmt.Errorf("survey: %w", err)
		}
		if oldest, err = q.heads.Oldest(ctx, start, end, req.Matchers, snapshotOf(segments, start, end).known); err != nil {
			return fmt.Errorf("survey: ask ingester: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	pieces := make([]SurveyPiece, len(req.Cuts)-1)
	var parts []string
	for i := range pieces {
		from, through := req.Cuts[i], req.Cuts[i+1]
		parts = parts[:0]
		for j := range segments {
			g := &segments[j]
			if g.Rows == 0 || g.MinTime >= through || g.MaxTime < from {
				continue
			}
			parts = append(parts, g.ID.String())
			pieces[i].Bytes += share(g.RawBytes+g.MetadataBytes, g.MinTime, g.MaxTime, from, through)
		}
		if through <= oldest {
			pieces[i].Source = nameOf(generation, parts)
		}
	}
	return pieces, nil
}

// share returns the part of bytes, which lie between first and last, that lies in from <= time < through.
func share(bytes, first, last, from, through int64) int64 {
	width := float64(last) - float64(first) + 1
	common := math.Min(float64(last)+1, float64(through)) - math.Max(float64(first), float64(from))
	return int64(float64(bytes) * min(1, max(0, common)/width))
}

// generation names the delete requests that are in force for the tenant.
func (q *Querier) generation(ctx context.Context) string {
	if q.cfg.Generation == nil {
		return ""
	}
	id, err := tenant.TenantID(ctx)
	if err != nil {
		return "" // whatever is done for nobody fails elsewhere
	}
	return q.cfg.Generation(id)
}

// nameOf names what the segments of a tenant hold under some delete requests. Segments never change, so a
// name stands for one content for ever.
func nameOf(generation string, parts []string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d:%s", len(generation), generation)
	for _, id := range parts {
		h.Write([]byte(id)) // all are of one length
	}
	return string(h.Sum(nil)[:16])
}
