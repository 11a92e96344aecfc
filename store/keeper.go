package store

import (
	"context"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/oklog/ulid/v2"
)

// Keeper is what whoever looks after the segments (merges, expires, removes them) may ask of the store
// besides Service. The context of each call but Refresh carries the tenant. *Store implements it.
type Keeper interface {
	Service

	// Tenants returns all tenants that have segments, sorted.
	Tenants() []string

	// Refresh lists the bucket, so that segments written by others are seen.
	Refresh(ctx context.Context) error

	// Held returns all segments of the tenant that are in the bucket as far as the catalog knows, also
	// those that don't count, by ULID.
	Held(ctx context.Context) ([]HeldSegment, error)

	// Open opens a segment for reading as a whole. Close it after use.
	Open(ctx context.Context, id ulid.ULID) (*Segment, error)

	// Rewrite writes a segment in place of others. From the moment that it is visible, which is when
	// Rewrite returns or shortly before, they are not. The others are not removed.
	Rewrite(ctx context.Context, id ulid.ULID, rows Rows, o RewriteOptions) (SegmentInfo, error)

	// Remove deletes the object of a segment and drops it from the catalog. What another segment that is
	// removed before it replaced would count again: remove first what is replaced. A segment that doesn't
	// exist is no error.
	Remove(ctx context.Context, id ulid.ULID) error
}

// HeldSegment is a segment in the bucket.
type HeldSegment struct {
	SegmentInfo
	Replaced bool  // another one holds its rows
	Broken   error // why its footer cannot be read; the info says only the ID then
}

// RewriteOptions say how a segment is rewritten.
type RewriteOptions struct {
	// Replaces are the segments whose rows this one holds, and those that they replaced in turn while
	// these exist.
	Replaces []ulid.ULID

	// Writers are those of all segments whose rows come into this one, ascending, without repetition. nil means
	// those of Replaces.
	Writers []string

	// CompressionLevel is as in Config. 0 means that of the store.
	CompressionLevel int
}

var _ Keeper = (*Store)(nil)

// Held implements Keeper.
func (s *Store) Held(ctx context.Context) ([]HeldSegment, error) {
	tenant, err := tenantOf(ctx)
	if err != nil {
		return nil, err
	}
	return s.catalog.held(tenant), nil
}

// Open implements Keeper.
func (s *Store) Open(ctx context.Context, id ulid.ULID) (*Segment, error) {
	tenant, err := tenantOf(ctx)
	if err != nil {
		return nil, err
	}
	seg, err := OpenSegment(ctx, s.bucket, SegmentPath(tenant, id))
	return seg, s.report(err)
}

// Rewrite implements Keeper. A stream may come in several pieces, one after another, with ascending times.
func (s *Store) Rewrite(ctx context.Context, id ulid.ULID, rows Rows, o RewriteOptions) (SegmentInfo, error) {
	if o.CompressionLevel < 0 || o.CompressionLevel > 4 {
		return SegmentInfo{}, fmt.Errorf("store: CompressionLevel %d is not in 0 to 4", o.CompressionLevel)
	}
	c := s.codec
	if o.CompressionLevel != 0 && o.CompressionLevel != s.cfg.CompressionLevel {
		c = newCodec(zstd.EncoderLevel(o.CompressionLevel))
		defer c.close()
	}
	names := s.names(ctx, id, o.Replaces)
	if o.Writers != nil || len(o.Replaces) == 0 {
		names.writers = o.Writers
	}
	return s.write(ctx, id, func(ctx context.Context, w io.Writer) (SegmentInfo, error) {
		return writeRows(ctx, w, c, s.cfg.PageBytes, names, rows, true)
	})
}

// Remove implements Keeper.
func (s *Store) Remove(ctx context.Context, id ulid.ULID) error {
	tenant, err := tenantOf(ctx)
	if err != nil {
		return err
	}
	path := SegmentPath(tenant, id)
	if err := s.bucket.Delete(ctx, path); err != nil && !s.bucket.IsObjNotFoundErr(err) {
		return fmt.Errorf("store: remove segment %s: %w", id, err)
	}
	s.catalog.apply(tenant, nil, []ulid.ULID{id})
	s.catalog.file.remove(tenant, []ulid.ULID{id})
	s.copies.remove(copyName{tenant, id})
	return nil
}
