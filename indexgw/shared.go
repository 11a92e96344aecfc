package indexgw

import (
	"context"
	"fmt"
	"math"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
	"example.com/loki/store"
)

// NewShared is New for a gateway that serves processes with catalogs of their own: asked for volumes of a segment that
// its store does not know yet, it looks for it, and fails if it is not there rather than leave it out.
func NewShared(cfg Config, st store.Service, reg prometheus.Registerer) (*Gateway, error) {
	return New(cfg, strictStore{st}, reg)
}

// strictStore is a store that is asked about segments by processes with catalogs of their own. It brings
// its catalog up to date when it doesn't know one of them, rather than leaving that out silently.
type strictStore struct {
	store.Service
}

// Volumes implements store.Service.
func (s strictStore) Volumes(ctx context.Context, start, end int64, matchers []*labels.Matcher, by, parts []string) ([]logql.StreamVolume, error) {
	if err := s.know(ctx, parts); err != nil {
		return nil, err
	}
	return s.Service.Volumes(ctx, start, end, matchers, by, parts)
}

// know makes sure that the catalog has all of the parts.
func (s strictStore) know(ctx context.Context, parts []string) error {
	missing, err := s.missing(ctx, parts)
	if err != nil || missing == "" {
		return err
	}
	if r, ok := s.Service.(interface{ Refresh(context.Context) error }); ok {
		if err := r.Refresh(ctx); err != nil {
			return fmt.Errorf("look for segment %s: %w", missing, err)
		}
		if missing, err = s.missing(ctx, parts); err != nil {
			return err
		}
	}
	if missing != "" {
		return fmt.Errorf("segment %s is not in the catalog of this process", missing)
	}
	return nil
}

// missing returns a part that is not in the catalog, empty if there is none.
func (s strictStore) missing(ctx context.Context, parts []string) (string, error) {
	if len(parts) == 0 {
		return "", nil
	}
	segments, err := s.Segments(ctx, math.MinInt64, math.MaxInt64)
	if err != nil {
		return "", err
	}
	known := make(map[string]bool, len(segments))
	for _, g := range segments {
		known[g.ID.String()] = true
	}
	for _, id := range parts {
		if !known[id] {
			return id, nil
		}
	}
	return "", nil
}
