package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"example.com/loki/internal/pace"
)

// Put implements Service.
func (s *Store) Put(ctx context.Context, id ulid.ULID, rows Rows) (SegmentInfo, error) {
	return s.Replace(ctx, id, nil, rows)
}

// Replace is Put of a segment that holds the rows of others: from the moment that it is visible, they
// are not. The others are not removed; that is safe once no query reads them. A segment that replaces
// one that itself replaced others must name these too while they exist.
func (s *Store) Replace(ctx context.Context, id ulid.ULID, replaces []ulid.ULID, rows Rows) (SegmentInfo, error) {
	return s.write(ctx, id, func(ctx context.Context, w io.Writer) (SegmentInfo, error) {
		return writeSegment(ctx, w, s.codec, s.cfg.PageBytes, s.names(ctx, id, replaces), rows)
	})
}

// names returns what a new segment says of itself: its rows come from this store, or from those that have put
// what it replaces.
func (s *Store) names(ctx context.Context, id ulid.ULID, replaces []ulid.ULID) segmentNames {
	n := segmentNames{id: id, replaces: replaces}
	if len(replaces) == 0 {
		if s.cfg.Writer != "" {
			n.writers = []string{s.cfg.Writer}
			n.digests = s.cfg.Digests
		}
		return n
	}
	if tenant, err := tenantOf(ctx); err == nil {
		for _, r := range replaces {
			if e, ok := s.catalog.lookup(tenant, r); ok {
				n.writers = append(n.writers, e.info.Writers...)
			}
		}
	}
	slices.Sort(n.writers)
	n.writers = slices.Compact(n.writers)
	return n
}

// write uploads what make writes and enters it in the catalog.
func (s *Store) write(ctx context.Context, id ulid.ULID, make func(context.Context, io.Writer) (SegmentInfo, error)) (info SegmentInfo, err error) {
	tenant, err := tenantOf(ctx)
	if err != nil {
		return SegmentInfo{}, err
	}
	exists, err := s.Exists(ctx, id)
	if err != nil {
		return SegmentInfo{}, err
	}
	if exists {
		return s.existing(ctx, tenant, id)
	}
	start := time.Now()
	sp := &spool{limit: s.cfg.SpoolBytes, dir: s.cfg.TempDir}
	defer func() {
		if e := sp.close(); e != nil {
			s.log.Warn("temporary file could not be removed", "err", e)
		}
	}()
	info, err = make(ctx, sp)
	if err != nil {
		return SegmentInfo{}, fmt.Errorf("store: make segment %s: %w", id, err)
	}
	r, err := sp.reader()
	if err != nil {
		return SegmentInfo{}, fmt.Errorf("store: make segment %s: %w", id, err)
	}
	resume := pace.Idle(ctx)
	err = s.bucket.Upload(ctx, SegmentPath(tenant, id), r)
	resume()
	if err != nil {
		return SegmentInfo{}, fmt.Errorf("store: upload segment %s: %w", id, err)
	}
	s.catalog.add(tenant, info)
	s.metrics.written.Inc()
	s.metrics.writtenBytes.Add(float64(info.SizeBytes))
	s.metrics.writtenRows.Add(float64(info.Rows))
	s.metrics.writeSeconds.Observe(time.Since(start).Seconds())
	return info, nil
}

// existing returns a segment that was written before and makes it visible.
func (s *Store) existing(ctx context.Context, tenant string, id ulid.ULID) (SegmentInfo, error) {
	if e, ok := s.catalog.lookup(tenant, id); ok && e.broken == nil {
		return e.info, nil
	}
	if s.catalog.wasReplaced(tenant, id) {
		return SegmentInfo{ID: id}, nil
	}
	info, _, err := readInfo(ctx, s.bucket, SegmentPath(tenant, id), id)
	if err != nil {
		return SegmentInfo{}, s.report(err)
	}
	s.catalog.add(tenant, info)
	return info, nil
}

// Exists implements Service.
func (s *Store) Exists(ctx context.Context, id ulid.ULID) (bool, error) {
	tenant, err := tenantOf(ctx)
	if err != nil {
		return false, err
	}
	if _, ok := s.catalog.lookup(tenant, id); ok || s.catalog.wasReplaced(tenant, id) {
		return true, nil
	}
	ok, err := s.bucket.Exists(ctx, SegmentPath(tenant, id))
	if err != nil {
		return false, fmt.Errorf("store: look for segment %s: %w", id, err)
	}
	return ok, nil
}

// Segments implements Service. It fails if a segment is damaged such that its times are unknown.
func (s *Store) Segments(ctx context.Context, start, end int64) ([]SegmentInfo, error) {
	tenant, err := tenantOf(ctx)
	if err != nil {
		return nil, err
	}
	var out []SegmentInfo
	var errs []error
	for _, e := range s.catalog.visible(tenant) {
		if e.overlaps(start, end) || e.inPlaceOf(start, end) {
			out = append(out, e.info)
			errs = append(errs, e.broken)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return out, nil
}
