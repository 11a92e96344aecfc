package frontend

import (
	"context"

	"example.com/loki/cache"
	"example.com/loki/logql"
)

// Answers to pieces of queries are kept under everything that they depend on: the tenant, what is asked, the
// delete requests in force, and the segments that were read. Segments never change, and an answer is kept
// only if the ingesters had no row to add to it. Whether that still holds, and which segments there are now,
// a querier says before a kept answer is used. So nothing has to be removed when rows come late, segments
// are merged or deleted: the old answers are not asked for any more.
//
// Of log queries only that a piece has no entry is kept.

// answers are kept in a cache. The zero value keeps none.
type answers struct {
	cache cache.Cache
}

// get returns the answers of keys, nil for those that are not there.
func (a answers) get(ctx context.Context, keys []string) []*logql.Partial {
	found := make([]*logql.Partial, len(keys))
	for i, data := range (cache.Sealed{Cache: a.cache}).Get(ctx, keys...) {
		if data == nil {
			continue
		}
		if p := new(logql.Partial); p.UnmarshalBinary(data) == nil {
			found[i] = p
		}
	}
	return found
}

// set keeps an answer without what it has cost.
func (a answers) set(ctx context.Context, key string, part *logql.Partial) {
	if data, err := part.WithoutStats().MarshalBinary(); err == nil {
		cache.Sealed{Cache: a.cache}.Set(ctx, key, data)
	}
}
