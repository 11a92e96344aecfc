package scheduler_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/grafana/dskit/user"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/grpc"

	"example.com/loki/internal/wire"
	"example.com/loki/logql"
	"example.com/loki/logql/logqltest"
	"example.com/loki/querier"
	"example.com/loki/scheduler"
	"example.com/loki/scheduler/schedulertest"
)

// counted is a listener whose connections count what they send and receive.
type counted struct {
	net.Listener
	bytes *atomic.Int64
}

func (c counted) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return countedConn{conn, c.bytes}, nil
}

type countedConn struct {
	net.Conn
	bytes *atomic.Int64
}

func (c countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.bytes.Add(int64(n))
	return n, err
}

func (c countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.bytes.Add(int64(n))
	return n, err
}

// listen serves on the loopback interface, so that the operating system's share is measured too.
func listen(b *testing.B, bytes *atomic.Int64, register func(grpc.ServiceRegistrar)) *grpc.ClientConn {
	b.Helper()
	s, err := wire.NewServer(wire.Config{}, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	register(s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(counted{l, bytes}) }()
	conn, err := wire.Dial(l.Addr().String(), wire.Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		conn.Close()
		s.Stop()
		<-done
	})
	return conn
}

// answers returns partials of two sizes: the points of a series, and 5000 log lines of about 200 bytes.
func answers(b *testing.B) map[string]*logql.Partial {
	var rows []logqltest.Row
	text := strings.Repeat("level=info msg=served path=/api/v1/items ", 5)
	for i := range int64(5000) {
		rows = append(rows, logqltest.Row{
			Stream: labels.FromStrings("app", "api", "pod", fmt.Sprint("pod-", i%20)), Time: i * int64(time.Second), Line: fmt.Sprint(text[:190], i),
		})
	}
	src := logqltest.NewSource(rows, logqltest.Layout{})
	end := 5000 * int64(time.Second)
	all := map[string]*logql.Partial{}
	for name, p := range map[string]logql.Params{
		"small": {Query: `sum(count_over_time({app="api"}[1m]))`, Start: 60 * int64(time.Second), End: end, Step: time.Minute},
		"large": {Query: `{app="api"}`, End: end, Limit: 5000},
	} {
		part, err := logql.Execute(b.Context(), logql.Task{Params: p, Through: end}, src, logql.Options{})
		if err != nil {
			b.Fatal(err)
		}
		all[name] = part
	}
	return all
}

// BenchmarkHop runs a task whose answer is there already: what is left is the way to the querier and back. In
// process it is a call of a local scheduler and querier; over "hop" these are called in another process;
// over "queue" a frontend calls a scheduler in another process, from which a querier in a third one fetches the
// task.
func BenchmarkHop(b *testing.B) {
	ctx := user.InjectOrgID(b.Context(), "a")
	task := &logql.Task{Params: logql.Params{Query: `sum(count_over_time({app="api"}[1m]))`, End: 3600e9, Step: time.Minute}, Through: 3600e9}
	for _, size := range []string{"small", "large"} {
		part := answers(b)[size]
		encoded, err := part.MarshalBinary()
		if err != nil {
			b.Fatal(err)
		}
		run := schedulertest.Fake(func(context.Context, *logql.Task) (*logql.Partial, error) { return part, nil })
		measure := func(name string, open func(b *testing.B, bytes *atomic.Int64) scheduler.Service) {
			b.Run("answer="+size+"/over="+name, func(b *testing.B) {
				var bytes atomic.Int64
				s := open(b, &bytes)
				for range 3 { // connections stand
					if _, err := s.Run(ctx, task); err != nil {
						b.Fatal(err)
					}
				}
				bytes.Store(0)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := s.Run(ctx, task); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(bytes.Load())/float64(b.N), "wire-B/op")
				b.ReportMetric(float64(len(encoded)), "answer-B")
			})
		}
		local := func(b *testing.B, q scheduler.Querier) *scheduler.Scheduler {
			s, err := scheduler.New(scheduler.Config{}, q, nil, nil)
			if err != nil {
				b.Fatal(err)
			}
			if err := services.StartAndAwaitRunning(b.Context(), s); err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { services.StopAndAwaitTerminated(context.Background(), s) })
			return s
		}
		measure("process", func(b *testing.B, _ *atomic.Int64) scheduler.Service { return local(b, run) })
		measure("hop", func(b *testing.B, bytes *atomic.Int64) scheduler.Service {
			s := local(b, run)
			return scheduler.NewClient(listen(b, bytes, func(r grpc.ServiceRegistrar) { scheduler.RegisterServer(r, s) }))
		})
		measure("queue", func(b *testing.B, bytes *atomic.Int64) scheduler.Service {
			s := local(b, nil)
			conn := listen(b, bytes, func(r grpc.ServiceRegistrar) {
				scheduler.RegisterServer(r, s)
				scheduler.RegisterDispatcher(r, s)
			})
			w, err := querier.NewWorker(querier.WorkerConfig{}, conn, run, nil)
			if err != nil {
				b.Fatal(err)
			}
			if err := services.StartAndAwaitRunning(b.Context(), w); err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { services.StopAndAwaitTerminated(context.Background(), w) })
			return scheduler.NewClient(conn)
		})
	}
}
