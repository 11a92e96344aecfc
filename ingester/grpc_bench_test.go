package ingester_test

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/grafana/dskit/services"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"example.com/loki/ingester"
	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wiretest"
	"example.com/loki/logql"
	"example.com/loki/logql/column"
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

// received counts the bytes that a client has received.
type received struct{ bytes atomic.Int64 }

func (*received) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (*received) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (*received) HandleConn(context.Context, stats.ConnStats)                       {}

func (r *received) HandleRPC(_ context.Context, s stats.RPCStats) {
	if in, ok := s.(*stats.InPayload); ok {
		r.bytes.Add(int64(in.WireLength))
	}
}

// wholeRows asks for all columns and all rows, whatever a query wants.
type wholeRows struct{ ingester.Service }

func (w wholeRows) Select(ctx context.Context, req *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	whole := *req
	whole.Query, whole.Wants = "", nil
	return w.Service.Select(ctx, &whole)
}

// hashed asks for hashes too, as those do who read from several ingesters.
type hashed struct{ ingester.Service }

func (h hashed) Select(ctx context.Context, req *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	r := *req
	if w := req.Wants; w != nil {
		wants := *w
		wants.Hashes = true
		r.Wants = &wants
	}
	return h.Service.Select(ctx, &r)
}

// BenchmarkQueryBytes is how many bytes travel from an ingester for each byte of the lines that a query is about.
func BenchmarkQueryBytes(b *testing.B) {
	req, size := logLines(100, 1000)
	i, err := ingester.New(ingester.Config{Dir: b.TempDir(), Sync: ingester.SyncNever}, new(storetest.Fake), nil, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	if err := services.StartAndAwaitRunning(b.Context(), i); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = services.StopAndAwaitTerminated(context.Background(), i) })
	if err := i.Push(as("a"), req); err != nil {
		b.Fatal(err)
	}
	peer := wiretest.Serve(b, wire.Config{}, register(i))
	got := &received{}
	options, err := wire.DialOptions(wire.Config{})
	if err != nil {
		b.Fatal(err)
	}
	near := ingester.NewClient(peer.DialWith(b, append(options, grpc.WithStatsHandler(got))...))
	for _, q := range []struct{ name, query string }{
		{"count", `sum by (app) (count_over_time({app=~".+"}[1h]))`},
		{"filter", `sum(count_over_time({app=~".+"} |~ "items/7+ " [1h]))`},
		{"bytes", `sum(bytes_over_time({app=~".+"}[1h]))`},
		{"parsed", `sum by (status) (count_over_time({app=~".+"} | logfmt | duration > 450ms [1h]))`},
	} {
		for _, s := range []struct {
			name   string
			source logql.Source
		}{{"rows=whole", wholeRows{near}}, {"rows=wanted", near}, {"rows=hashed", hashed{near}}} {
			b.Run(q.name+"/"+s.name, func(b *testing.B) {
				got.bytes.Store(0)
				b.SetBytes(size)
				for b.Loop() {
					if _, err := logql.Query(as("a"), logql.Params{Query: q.query, Start: 2e12, End: 2e12}, s.source, logql.Options{}); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(got.bytes.Load())/float64(b.N)/float64(size), "wire-B/line-B")
			})
		}
	}
}
