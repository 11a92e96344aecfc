package ingester_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/grafana/dskit/services"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/ingester"
	"example.com/loki/logql"
	"example.com/loki/store/storetest"
)

// both runs a benchmark in process and over gRPC.
func both(b *testing.B, run func(b *testing.B, s ingester.Service)) {
	for _, over := range []string{"process", "grpc"} {
		b.Run("over="+over, func(b *testing.B) {
			i, err := ingester.New(ingester.Config{Dir: b.TempDir(), Sync: ingester.SyncNever}, new(storetest.Fake), nil, nil, nil)
			if err != nil {
				b.Fatal(err)
			}
			if err := services.StartAndAwaitRunning(b.Context(), i); err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() {
				if err := services.StopAndAwaitTerminated(context.Background(), i); err != nil {
					b.Error(err)
				}
			})
			var s ingester.Service = i
			if over == "grpc" {
				s = remote(b, i)
			}
			run(b, s)
		})
	}
}

// logLines returns streams of entries with lines of about 150 bytes and two fields of metadata, and the
// bytes of all lines.
func logLines(streams, entries int) (*ingester.PushRequest, int64) {
	random := rand.New(rand.NewPCG(5, 6))
	var req []ingester.Stream
	size := int64(0)
	for s := range streams {
		st := ingester.Stream{Labels: labels.FromStrings("app", fmt.Sprint("app", s%10), "namespace", "shop", "pod", fmt.Sprint("pod-", s))}
		for n := range entries {
			line := fmt.Appendf(nil, `level=info ts=2026-01-05T08:00:%02d.%03dZ caller=handler.go:%d msg="request served" method=GET path=/api/v1/items/%d status=200 duration=%dms`,
				n%60, random.IntN(1000), random.IntN(500), random.IntN(100_000), random.IntN(500))
			size += int64(len(line))
			st.Entries = append(st.Entries, ingester.Entry{Time: int64(n+1) * 1e6, Line: line, Metadata: []ingester.Field{
				{Name: "detected_level", Value: []byte("info")}, {Name: "trace_id", Value: fmt.Appendf(nil, "%016x", random.Uint64())}}})
		}
		req = append(req, st)
	}
	return pushOf(req...), size
}

// sink takes pushes and forgets them.
type sink struct{ ingester.Service }

func (sink) Push(context.Context, *ingester.PushRequest) error { return nil }

// BenchmarkPushHop is what gRPC adds to a push: encoding, two copies through a connection, decoding.
func BenchmarkPushHop(b *testing.B) {
	for _, shape := range [][2]int{{1, 1}, {1, 1000}, {100, 10}, {1000, 1}, {1, 20_000}} {
		req, size := logLines(shape[0], shape[1])
		b.Run(fmt.Sprintf("streams=%d/entries=%d", shape[0], shape[0]*shape[1]), func(b *testing.B) {
			s := remote(b, sink{})
			ctx := as("a")
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Push(ctx, req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPushOver(b *testing.B) {
	for _, shape := range [][2]int{{1, 1}, {1, 1000}, {100, 10}} {
		req, size := logLines(shape[0], shape[1])
		b.Run(fmt.Sprintf("streams=%d/entries=%d", shape[0], shape[0]*shape[1]), func(b *testing.B) {
			both(b, func(b *testing.B, s ingester.Service) {
				ctx := as("a")
				b.SetBytes(size)
				b.ReportAllocs()
				at := int64(0)
				for b.Loop() {
					at += 1e12 // no doubles
					for i := range req.Streams {
						for j := range req.Streams[i].Entries {
							e := &req.Streams[i].Entries[j]
							e.Time = at + int64(j)
						}
					}
					if err := s.Push(ctx, req); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

func BenchmarkSelectOver(b *testing.B) {
	for _, shape := range [][2]int{{1, 100_000}, {1000, 100}} {
		req, size := logLines(shape[0], shape[1])
		for _, needle := range []string{"", "path=/api/v1/items/777 "} {
			b.Run(fmt.Sprintf("streams=%d/entries=%d/filter=%v", shape[0], shape[0]*shape[1], needle != ""), func(b *testing.B) {
				both(b, func(b *testing.B, s ingester.Service) {
					ctx := as("a")
					if err := s.Push(ctx, req); err != nil {
						b.Fatal(err)
					}
					sel := everything()
					if needle != "" {
						sel.Contains = []logql.Needle{{Text: needle}}
					}
					b.SetBytes(size)
					b.ReportAllocs()
					for b.Loop() {
						for batch, err := range s.Select(ctx, sel) {
							if err != nil {
								b.Fatal(err)
							}
							if _, err := batch.Times(ctx); err != nil {
								b.Fatal(err)
							}
							if _, err := batch.Lines(ctx); err != nil {
								b.Fatal(err)
							}
							if _, err := batch.Metadata(ctx, "trace_id"); err != nil {
								b.Fatal(err)
							}
							batch.Release()
						}
					}
				})
			})
		}
	}
}
