package ingester

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/grafana/dskit/services"
	"github.com/grafana/dskit/user"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"

	"example.com/loki/internal/bench/yardstick"
	"example.com/loki/internal/bytesearch"
	"example.com/loki/logql/column"
)

// logLine makes a line as a web server writes it, the same for the same seed.
func logLine(r *rand.Rand, dst []byte) []byte {
	methods := []string{"GET", "POST", "PUT"}
	paths := []string{"/api/v1/users", "/api/v1/cart", "/static/app.js", "/healthz", "/login"}
	return fmt.Appendf(dst, `%d.%d.%d.%d - - [10/Oct/2025:13:55:%02d] "%s %s/%d HTTP/1.1" %d %d "-" "Mozilla/5.0 (X11; Linux x86_64)" rt=%.3f id=%016x`,
		10, r.IntN(4), r.IntN(256), r.IntN(256), r.IntN(60), methods[r.IntN(len(methods))], paths[r.IntN(len(paths))], r.IntN(5000),
		[]int{200, 200, 200, 404, 500}[r.IntN(5)], r.IntN(100000), r.Float64(), r.Uint64())
}

// benchPush makes a request of so many streams and entries in all.
func benchPush(r *rand.Rand, streams, entries int, at *int64) (*PushRequest, int64) {
	req := &PushRequest{}
	size := int64(0)
	levels := [][]byte{[]byte("info"), []byte("warn"), []byte("error")}
	for s := range streams {
		st := stream1(ls("app", fmt.Sprintf("app-%d", s%50), "pod", fmt.Sprintf("pod-%d", s), "env", "prod"))
		for range entries / streams {
			*at += int64(r.IntN(2e6))
			l := logLine(r, nil)
			size += int64(len(l))
			st.Entries = append(st.Entries, Entry{Time: *at, Line: l, Metadata: []Field{{"detected_level", levels[r.IntN(3)]}}})
		}
		req.Streams = append(req.Streams, st)
	}
	return req, size
}

func benchStart(b *testing.B, cfg Config) *Ingester {
	if cfg.Dir == "" {
		cfg.Dir = b.TempDir()
	}
	i, err := tryStart(b, cfg, discard{newMemStore()}, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = services.StopAndAwaitTerminated(context.Background(), i) })
	return i
}

func BenchmarkPush(b *testing.B) {
	for _, c := range []struct{ streams, entries int }{{1, 1}, {1, 100}, {1, 5000}, {100, 5000}, {5000, 5000}} {
		for _, sync := range []Sync{SyncAlways, SyncNever} {
			b.Run(fmt.Sprintf("streams=%d/entries=%d/sync=%t", c.streams, c.entries, sync == SyncAlways), func(b *testing.B) {
				i := benchStart(b, Config{Sync: sync})
				r := rand.New(rand.NewPCG(1, 2))
				at := int64(1)
				req, size := benchPush(r, c.streams, c.entries, &at)
				yardstick.Bytes(b, size)
				b.SetParallelism(2)
				b.RunParallel(func(pb *testing.PB) {
					ctx := user.InjectOrgID(context.Background(), "a")
					for pb.Next() {
						if err := i.Push(ctx, req); err != nil {
							b.Fatal(err)
						}
					}
				})
			})
		}
	}
}

// BenchmarkCodec compares compressions of the log; the ratio is of raw payload to record.
func BenchmarkCodec(b *testing.B) {
	for _, entries := range []int{1, 10, 100, 5000} {
		at := int64(1)
		req, size := benchPush(rand.New(rand.NewPCG(1, 2)), 1, entries, &at)
		var payload []byte
		for _, e := range req.Streams[0].Entries {
			payload = append(payload, e.Line...)
		}
		run := func(name string, f func() int) {
			b.Run(fmt.Sprintf("%s/entries=%d", name, entries), func(b *testing.B) {
				b.SetBytes(size)
				n := 0
				for b.Loop() {
					n = f()
				}
				b.ReportMetric(float64(len(payload))/float64(n), "ratio")
			})
		}
		var buf []byte
		run("snappy", func() int { buf = snappy.Encode(buf, payload); return len(buf) })
		for _, with := range []Compression{CompressS2, CompressZstd, CompressNone} {
			c, err := newCodec(with)
			if err != nil {
				b.Fatal(err)
			}
			run(with.String(), func() int { buf = c.appendRecord(buf[:0], nil, payload); return len(buf) })
		}
		for _, level := range []zstd.EncoderLevel{zstd.SpeedFastest, zstd.SpeedDefault} {
			enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
			if err != nil {
				b.Fatal(err)
			}
			run("zstd-"+level.String(), func() int { buf = enc.EncodeAll(payload, buf[:0]); return len(buf) })
		}
	}
}

// BenchmarkSelect reads times and lines of everything, searches all lines for a text, and finds one stream among all.
func BenchmarkSelect(b *testing.B) {
	for _, streams := range []int{10, 1000, 100_000} {
		i := benchStart(b, Config{Sync: SyncNever, SegmentTarget: 1 << 30, MaxHeadBytes: 4 << 30})
		r := rand.New(rand.NewPCG(1, 2))
		at, total := int64(1), int64(0)
		req, _ := benchPush(r, streams, max(streams, 1000), &at)
		for range 100_000 / max(streams, 1000) {
			next, size := benchPush(r, min(streams, 1000), max(min(streams, 1000), 1000), &at)
			total += size
			if streams <= 1000 {
				req = next
			}
			push(b, i, "a", req.Streams...)
		}
		ctx := user.InjectOrgID(context.Background(), "a")
		b.Run(fmt.Sprintf("all/streams=%d", streams), func(b *testing.B) {
			read := int64(0)
			yardstick.BytesOf(b, &read)
			for b.Loop() {
				read = 0
				for batch, err := range i.Select(ctx, everything()) {
					if err != nil {
						b.Fatal(err)
					}
					if _, err := batch.Times(ctx); err != nil {
						b.Fatal(err)
					}
					lines, err := batch.Lines(ctx)
					if err != nil {
						b.Fatal(err)
					}
					read += int64(len(lines.Data))
					batch.Release()
				}
			}
		})
		b.Run(fmt.Sprintf("needle/streams=%d", streams), func(b *testing.B) {
			yardstick.Bytes(b, total)
			texts := &column.Texts{Any: [][]byte{[]byte("no such text")}}
			text := bytesearch.New(texts.Any[0])
			for b.Loop() {
				for batch, err := range i.Select(ctx, everything()) {
					if err != nil {
						b.Fatal(err)
					}
					rows, _, ok, err := batch.Columns.(column.Searcher).Search(ctx, texts)
					if len(rows) > 0 || err != nil {
						b.Fatalf("%d rows, %v", len(rows), err)
					}
					if !ok {
						lines, err := batch.Lines(ctx)
						if err != nil || text.Index(lines.Data) >= 0 {
							b.Fatalf("found, or %v", err)
						}
					}
					batch.Release()
				}
			}
		})
		b.Run(fmt.Sprintf("one/streams=%d", streams), func(b *testing.B) {
			b.ReportAllocs()
			req := everything("pod=pod-7", "app=~app-.*")
			for b.Loop() {
				n := 0
				for batch, err := range i.Select(ctx, req) {
					if err != nil {
						b.Fatal(err)
					}
					n += batch.Rows()
				}
				if n == 0 {
					b.Fatal("no rows")
				}
			}
		})
	}
}
