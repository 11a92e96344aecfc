package compactor

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/internal/bench/yardstick"
	"example.com/loki/logql"
	"example.com/loki/store"
	"example.com/loki/store/storetest"
)

// filled returns a store in files with parts of 200 streams over some hours, as ingesters leave them, and a
// compactor.
func filled(b *testing.B, parts, rowsPerPart int) (*store.Store, *Compactor, int64) {
	b.Helper()
	bucket, err := store.NewFilesystemBucket(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	st, err := store.New(store.Config{RefreshInterval: -1, CacheBytes: 1 << 20}, bucket, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	c, err := New(Config{Interval: -1, MinAge: -1, BytesPerSecond: -1, MinShare: 1, VerifyEvery: -1}, st, bucket, nil, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, s := range []services.Service{st, c} {
		if err := services.StartAndAwaitRunning(context.Background(), s); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = services.StopAndAwaitTerminated(context.Background(), s) })
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	base := time.Date(2024, 5, 6, 0, 0, 0, 0, time.UTC)
	var bytes int64
	for p := range parts {
		from := base.Add(time.Duration(p) * 10 * time.Minute)
		var entries []storetest.Entry
		for range rowsPerPart {
			n := rnd.IntN(200)
			entries = append(entries, storetest.Entry{
				Labels: labels.FromStrings("app", fmt.Sprintf("app%d", n%20), "pod", fmt.Sprintf("pod-%03d", n)),
				Time:   from.UnixNano() + rnd.Int64N(int64(10*time.Minute)),
				Line: fmt.Sprintf("level=%s ts=%d caller=http.go:%d msg=\"request done\" method=GET path=/api/v1/items/%d status=%d duration=%dms trace=%016x",
					[]string{"info", "info", "info", "warn", "error"}[rnd.IntN(5)], from.Unix(), rnd.IntN(500), rnd.IntN(9999), 200+rnd.IntN(5)*100, rnd.IntN(900), rnd.Uint64()),
			})
		}
		id, err := ulid.New(ulid.Timestamp(from), rndReader{rnd})
		if err != nil {
			b.Fatal(err)
		}
		info, err := st.Put(tenant(), id, storetest.Rows(entries...))
		if err != nil {
			b.Fatal(err)
		}
		bytes += info.RawBytes
	}
	return st, c, bytes
}

// BenchmarkMerge merges 16 parts into one segment.
func BenchmarkMerge(b *testing.B) {
	var bytes int64
	yardstick.BytesOf(b, &bytes)
	for b.Loop() {
		b.StopTimer()
		st, c, size := filled(b, 16, 10_000)
		bytes = size
		segments, err := c.resting(tenant(), tenantName)
		if err != nil {
			b.Fatal(err)
		}
		var before int64
		for _, s := range segments {
			before += s.SizeBytes
		}
		b.StartTimer()
		out, err := c.rewrite(tenant(), tenantName, segments, "merge")
		if err != nil || len(out) != 1 {
			b.Fatal(len(out), err)
		}
		b.ReportMetric(float64(before)/float64(out[0].SizeBytes), "shrink")
		_ = st
	}
}

// BenchmarkQuery runs queries over parts as ingesters leave them and over what merging makes of them.
func BenchmarkQuery(b *testing.B) {
	st, c, _ := filled(b, 96, 2_000)
	run := func(b *testing.B) {
		for _, q := range []struct{ name, query string }{
			{"one-stream", `{pod="pod-007"}`},
			{"needle", `{app="app3"} |= "items/4711 "`},
			{"count", `sum by (app) (count_over_time({app=~".+"}[1h]))`},
		} {
			b.Run(q.name, func(b *testing.B) {
				p := logql.Params{Query: q.query, Start: 1714953600e9, End: 1714953600e9 + int64(16*time.Hour), Step: time.Hour, Limit: 1000}
				plan, err := logql.NewPlan(p)
				if err != nil {
					b.Fatal(err)
				}
				for b.Loop() {
					if _, err := plan.Execute(tenant(), logql.Task{Params: p, Through: 1 << 62}, st, logql.Options{}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
	b.Run("before", run)
	if err := c.Run(context.Background()); err != nil {
		b.Fatal(err)
	}
	infos, err := st.Segments(tenant(), 0, 1<<62)
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%d segments after", len(infos))
	b.Run("after", run)
}

// BenchmarkManyStreams stores a million lines of 10 or of 100,000 streams in three parts, as they would be cut, and
// merges these. It reports the sizes in relation to one segment of 10 streams.
func BenchmarkManyStreams(b *testing.B) {
	const lines = 1_000_000
	size := func(b *testing.B, streams, parts int) (before, after int64) {
		b.Helper()
		bucket, err := store.NewFilesystemBucket(b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		st, err := store.New(store.Config{RefreshInterval: -1, CacheBytes: 1 << 20}, bucket, nil, nil)
		if err != nil {
			b.Fatal(err)
		}
		c, err := New(Config{Interval: -1, MinAge: -1, DeleteDelay: -1, BytesPerSecond: -1, MinShare: 1, VerifyEvery: -1, FanIn: 2}, st, bucket, nil, nil, nil)
		if err != nil {
			b.Fatal(err)
		}
		for _, s := range []services.Service{st, c} {
			if err := services.StartAndAwaitRunning(context.Background(), s); err != nil {
				b.Fatal(err)
			}
			defer func() { _ = services.StopAndAwaitTerminated(context.Background(), s) }()
		}
		sets := make([]labels.Labels, streams)
		for n := range sets {
			sets[n] = labels.FromStrings("app", fmt.Sprintf("app%d", n%20), "namespace", fmt.Sprintf("ns%d", n%50), "pod", fmt.Sprintf("pod-%06d", n))
		}
		rnd := rand.New(rand.NewPCG(5, 6))
		from := time.Date(2024, 5, 6, 0, 0, 0, 0, time.UTC)
		for p := range parts {
			rows := make([][]storetest.Entry, streams)
			for i := p * lines / parts; i < (p+1)*lines/parts; i++ {
				n := i % streams
				rows[n] = append(rows[n], storetest.Entry{
					Labels: sets[n], Time: from.UnixNano() + int64(i)*int64(time.Hour)/lines,
					Line: fmt.Sprintf("level=%s caller=http.go:%d msg=\"request done\" method=GET path=/api/v1/items/%d status=%d duration=%dms",
						[]string{"info", "info", "info", "warn", "error"}[rnd.IntN(5)], rnd.IntN(500), rnd.IntN(9999), 200+rnd.IntN(5)*100, rnd.IntN(900)),
				})
			}
			id, err := ulid.New(ulid.Timestamp(from)+uint64(p), rndReader{rnd})
			if err != nil {
				b.Fatal(err)
			}
			info, err := st.Put(tenant(), id, storetest.Rows(slices.Concat(rows...)...))
			if err != nil {
				b.Fatal(err)
			}
			before += info.SizeBytes
		}
		if err := c.Run(context.Background()); err != nil {
			b.Fatal(err)
		}
		infos, err := st.Segments(tenant(), 0, 1<<62)
		if err != nil || len(infos) != 1 {
			b.Fatal(len(infos), err)
		}
		return before, infos[0].SizeBytes
	}
	for b.Loop() {
		_, ten := size(b, 10, 3)
		cut, merged := size(b, 100_000, 3)
		b.ReportMetric(100*(float64(cut)/float64(ten)-1), "%more-in-3-parts")
		b.ReportMetric(100*(float64(merged)/float64(ten)-1), "%more-merged")
		b.ReportMetric(float64(merged), "bytes")
	}
}
