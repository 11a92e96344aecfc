package wire_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/grafana/dskit/user"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wirepb"
	"example.com/loki/internal/wire/wiretest"
	"example.com/loki/logql"
	"example.com/loki/logql/column"
	"example.com/loki/logql/syntax"
	"example.com/loki/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestGenerated makes the generated code anew and compares it.
func TestGenerated(t *testing.T) {
	for _, tool := range []string{"protoc", "protoc-gen-go", "protoc-gen-go-grpc", "protoc-gen-go-vtproto"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	dir := t.TempDir()
	protos, err := filepath.Glob("wirepb/*.proto")
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-I", "wirepb"}
	for _, plugin := range []string{"go", "go-grpc", "go-vtproto"} {
		args = append(args, fmt.Sprintf("--%s_out=%s", plugin, dir), fmt.Sprintf("--%s_opt=paths=source_relative", plugin))
	}
	args = append(args, "--go-vtproto_opt=features=marshal+unmarshal+unmarshal_unsafe+size")
	for _, p := range protos {
		args = append(args, filepath.Base(p))
	}
	if out, err := exec.Command("protoc", args...).CombinedOutput(); err != nil {
		t.Fatalf("protoc: %v\n%s", err, out)
	}
	made, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(made) == 0 {
		t.Fatalf("made %d files, %v", len(made), err)
	}
	kept, _ := filepath.Glob("wirepb/*.pb.go")
	if len(kept) != len(made) {
		t.Errorf("%d generated files are kept, there are %d", len(kept), len(made))
	}
	for _, path := range made {
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join("wirepb", filepath.Base(path)))
		if err != nil || string(got) != string(want) {
			t.Errorf("%s is not what its .proto file says (%v): run go generate ./internal/wire/wirepb", filepath.Base(path), err)
		}
	}
}

func TestErrorsTravel(t *testing.T) {
	own := errors.New("own")
	kinds := []wire.Kind{wire.Sentinel("own", codes.NotFound, own)}
	query := &logql.QueryError{Kind: logql.KindSeriesLimit, Message: "too many"}
	parse := &syntax.ParseError{Pos: 3, Line: 1, Col: 4, Msg: "unexpected", Expected: []string{"}", ","}, Hint: "close it"}
	for _, tt := range []struct {
		err  error
		is   []error
		code codes.Code
	}{
		{own, []error{own}, codes.NotFound},
		{fmt.Errorf("x: %w", own), []error{own}, codes.NotFound},
		{query, []error{logql.KindSeriesLimit}, codes.InvalidArgument},
		{fmt.Errorf("run: %w", query), []error{logql.KindSeriesLimit}, codes.InvalidArgument},
		{parse, nil, codes.InvalidArgument},
		{user.ErrNoOrgID, []error{user.ErrNoOrgID}, codes.Unauthenticated},
		{errors.Join(own, context.Canceled), []error{own, context.Canceled}, codes.NotFound},
		{context.DeadlineExceeded, []error{context.DeadlineExceeded}, codes.DeadlineExceeded},
		{fmt.Errorf("s3: %w: %w", store.ErrUnavailable, context.DeadlineExceeded), []error{store.ErrUnavailable}, codes.FailedPrecondition},
		{errors.New("else"), nil, codes.Unknown},
	} {
		sent := tt.err
		for hop := range 3 { // each may be passed on by another process
			st := wire.ToStatus(sent, kinds)
			if c := status.Code(st); c != tt.code {
				t.Errorf("hop %d: %v has the code %s, want %s", hop, tt.err, c, tt.code)
			}
			got := wire.FromStatus(t.Context(), st, kinds)
			if got.Error() != tt.err.Error() {
				t.Errorf("hop %d: got %q, want %q", hop, got, tt.err)
			}
			for _, want := range tt.is {
				if !errors.Is(got, want) {
					t.Errorf("hop %d: %v is not %v", hop, got, want)
				}
			}
			sent = got
		}
		var p *syntax.ParseError
		if errors.As(tt.err, &p) && (!errors.As(sent, &p) || fmt.Sprint(*p) != fmt.Sprint(*parse)) {
			t.Errorf("got the parse error %+v, want %+v", p, parse)
		}
		if again := wire.DecodeError(wire.EncodeError(tt.err, kinds), kinds); again.Error() != tt.err.Error() {
			t.Errorf("encoded and decoded: %v, want %v", again, tt.err)
		}
	}
}

// panics is a querier whose methods panic.
type panics struct {
	wirepb.UnimplementedQuerierServer
}

func (panics) Run(*wirepb.Task, grpc.ServerStreamingServer[wirepb.Piece]) error { panic("oops") }

func TestServer(t *testing.T) {
	reg := prometheus.NewRegistry()
	for range 2 { // the same registry: the second one shares the metrics
		if _, err := wire.NewServer(wire.Config{}, nil, reg); err != nil {
			t.Fatal(err)
		}
	}
	p := wiretest.ServeWith(t, wire.Config{}, reg, func(r grpc.ServiceRegistrar) { wirepb.RegisterQuerierServer(r, panics{}) })
	conn := p.Dial(t, wire.Config{})
	_, err := wire.AskPartial(t.Context(), &logql.Task{}, nil, wirepb.NewQuerierClient(conn).Run)
	if wire.Code(err) != codes.Internal || !strings.Contains(err.Error(), "oops") {
		t.Errorf("a call that panics: %v", err)
	}
	client := grpc_health_v1.NewHealthClient(conn)
	for _, ready := range []bool{true, false} {
		p.SetServing("", ready)
		res, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		if err != nil || (res.Status == grpc_health_v1.HealthCheckResponse_SERVING) != ready {
			t.Errorf("health is %v, %v, want ready: %v", res.GetStatus(), err, ready)
		}
	}
	if n := testutil.CollectAndCount(reg, "loki_request_duration_seconds"); n != 2 {
		t.Errorf("%d routes are measured, want 2", n)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v %v", problems, err)
	}
}

func TestConfig(t *testing.T) {
	bad := wire.Config{MaxReceive: -1, Keepalive: -1, Compression: "lzw"}
	_, err1 := wire.NewServer(bad, nil, nil)
	_, err2 := wire.Dial("localhost:1", bad)
	for _, err := range []error{err1, err2} {
		if err == nil || !strings.Contains(err.Error(), "MaxReceive") || !strings.Contains(err.Error(), "Keepalive") || !strings.Contains(err.Error(), "lzw") {
			t.Errorf("got %v, want all three problems", err)
		}
	}
}

// TestDamagedPieces changes messages of a call of Select at random: that must be noticed or harmless.
func TestDamagedPieces(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var sent [][]byte
	sender, err := wire.NewBatchSender(&logql.SelectRequest{Start: 0, End: 1 << 60}, func(m *wirepb.SelectPiece) error {
		b, err := m.MarshalVT()
		sent = append(sent, b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := sender.Send(t.Context(), batch(100)); err != nil {
		t.Fatal(err)
	}
	for range 20_000 {
		data := append([]byte(nil), sent[0]...)
		for range 1 + random.IntN(3) {
			data[random.IntN(len(data))] = byte(random.Uint32())
		}
		var m wirepb.SelectPiece
		if m.UnmarshalVTUnsafe(data) != nil {
			continue
		}
		var r wire.BatchReceiver
		b, err := r.Add(&m)
		if err != nil || b == nil {
			continue
		}
		lines, err := b.Lines(t.Context())
		if err != nil {
			continue // the change says that they were not asked for
		}
		names, _ := b.MetadataNames(t.Context())
		for _, run := range b.Runs {
			for row := run.From; row < run.To; row++ {
				lines.Row(row)
				for _, n := range names {
					col, _ := b.Metadata(t.Context(), n)
					col.Row(row)
				}
			}
		}
	}
}

func batch(rows int) *column.Batch {
	c := &memory{lines: column.Lines{Offsets: []uint32{0}}}
	for i := range rows {
		c.times = append(c.times, int64(i))
		c.lines.Data = fmt.Appendf(c.lines.Data, "line %d", i)
		c.lines.Offsets = append(c.lines.Offsets, uint32(len(c.lines.Data)))
		c.pods.Values = append(c.pods.Values, fmt.Appendf(nil, "pod%d", i))
		c.pods.Index = append(c.pods.Index, uint32(i+1))
	}
	st := column.NewStream(labels.FromStrings("app", "x"))
	half := rows / 2
	return &column.Batch{MaxTime: int64(rows - 1), Columns: c, Runs: []column.Run{
		{Stream: st, To: half, MaxTime: int64(half - 1)},
		{Stream: column.NewStream(labels.FromStrings("app", "y")), From: half, To: rows, MinTime: int64(half), MaxTime: int64(rows - 1)},
	}}
}

// memory is columns in memory.
type memory struct {
	times []int64
	lines column.Lines
	pods  column.Metadata
}

func (m *memory) Rows() int                                                 { return len(m.times) }
func (m *memory) Times(context.Context) ([]int64, error)                    { return m.times, nil }
func (m *memory) LineLengths(context.Context) ([]uint32, error)             { return nil, errors.New("not used") }
func (m *memory) Lines(context.Context) (column.Lines, error)               { return m.lines, nil }
func (m *memory) MetadataNames(context.Context) ([]string, error)           { return []string{"pod"}, nil }
func (m *memory) Metadata(context.Context, string) (column.Metadata, error) { return m.pods, nil }
func (m *memory) Release()                                                  {}

// FuzzLabels decodes anything and demands that what is accepted is encoded the same way.
func FuzzLabels(f *testing.F) {
	f.Add(wire.EncodeLabels(labels.FromStrings("a", "1", "b", "2")))
	f.Add([]byte{1, 'a', 0, 200})
	f.Fuzz(func(t *testing.T, data []byte) {
		var d wire.LabelDecoder
		ls, err := d.Decode(data)
		if err != nil {
			return
		}
		var again wire.LabelDecoder
		same, err := again.Decode(wire.EncodeLabels(ls))
		if err != nil || !labels.Equal(same, ls) {
			t.Errorf("%q becomes %s and then %s, %v", data, ls, same, err)
		}
	})
}
