package store_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/thanos-io/objstore"

	"example.com/loki/internal/bench/yardstick"
	"example.com/loki/logql"
	"example.com/loki/logql/column"
	"example.com/loki/store"
	"example.com/loki/store/storetest"
)

func BenchmarkSelect(b *testing.B) {
	for _, streams := range []int{10, 1_000, 10_000} {
		ctx := storetest.Tenant("a")
		s := start(b, store.Config{RefreshInterval: -1}, objstore.NewInMemBucket())
		info := storetest.Put(b, ctx, s, storetest.ID(1), storetest.Generate(1, streams, 100_000/streams))
		reader := func(read func(context.Context, *column.Batch) error) func(b *testing.B) {
			req := &logql.SelectRequest{End: 1 << 62, Matchers: []*labels.Matcher{labels.MustNewMatcher(labels.MatchRegexp, "app", "app.+")}}
			return func(b *testing.B) {
				yardstick.Bytes(b, info.RawBytes)
				for b.Loop() {
					for batch, err := range s.Select(ctx, req) {
						if err == nil {
							err = read(ctx, batch)
						}
						if err != nil {
							b.Fatal(err)
						}
						batch.Release()
					}
				}
			}
		}
		b.Run(fmt.Sprintf("streams=%d/plan", streams), reader(func(context.Context, *column.Batch) error { return nil }))
		b.Run(fmt.Sprintf("streams=%d/times", streams), reader(func(ctx context.Context, c *column.Batch) error {
			_, err := c.Times(ctx)
			return err
		}))
		b.Run(fmt.Sprintf("streams=%d/lines", streams), reader(func(ctx context.Context, c *column.Batch) error {
			_, err := c.Lines(ctx)
			return err
		}))
	}
}

// BenchmarkVolumes adds up a segment of streams of one line: of each stream, of all as one, and of an application's as one,
// as statistics do.
func BenchmarkVolumes(b *testing.B) {
	const streams = 100_000
	ctx := storetest.Tenant("a")
	s := start(b, store.Config{RefreshInterval: -1}, objstore.NewInMemBucket())
	storetest.Put(b, ctx, s, storetest.ID(1), storetest.Generate(1, streams, 1))
	for _, c := range []struct {
		name string
		by   []string
	}{{"stream by stream", nil}, {"by application", []string{"app"}}, {"as one", []string{}}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				vs, err := s.Volumes(ctx, 0, 1<<62, nil, c.by, nil)
				if err != nil || len(vs) == 0 {
					b.Fatal(vs, err)
				}
				if c.by != nil && len(c.by) == 0 && logql.CountStreams(vs) != streams {
					b.Fatal("wrong number of streams")
				}
			}
		})
	}
}
