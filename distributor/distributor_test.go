package distributor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/grafana/dskit/user"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/ingester"
	"example.com/loki/internal/bench/yardstick"
	"example.com/loki/limits"
)

func tenantContext(t testing.TB) context.Context {
	return user.InjectOrgID(t.Context(), "test")
}

// stopped is the clock of tests.
var stopped = time.Date(2026, 1, 10, 12, 0, 0, 0, time.UTC)

func stoppedClock() time.Time { return stopped }

func entryAt(t time.Time, line string) ingester.Entry {
	return ingester.Entry{Time: t.UnixNano(), Line: []byte(line)}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits func(*limits.Limits)
		labels string
		entry  ingester.Entry
		reason Reason
		want   string
	}{
		{"old", nil, `{a="b"}`, entryAt(stopped.Add(-8*24*time.Hour), "x"), TooOld,
			`entry for stream '{a="b", service_name="unknown_service"}' has timestamp too old: 2026-01-02T12:00:00Z, oldest acceptable timestamp is: 2026-01-03T12:00:00Z`},
		{"new", nil, `{a="b"}`, entryAt(stopped.Add(11*time.Minute), "x"), TooNew,
			`entry for stream '{a="b", service_name="unknown_service"}' has timestamp too new: 2026-01-10T12:11:00Z`},
		{"long", func(l *limits.Limits) { l.MaxLineSize = 3 }, `{a="b"}`, entryAt(stopped, "line"), LineTooLong,
			`max entry size '3' bytes exceeded for stream '{a="b", service_name="unknown_service"}' while adding an entry with length '4' bytes`},
		{"disallowed metadata", func(l *limits.Limits) { l.AllowStructuredMetadata = false }, `{a="b"}`,
			ingester.Entry{Time: stopped.UnixNano(), Metadata: []ingester.Field{{Name: "k", Value: []byte("v")}}}, DisallowedMetadata,
			"stream '{a=\"b\", service_name=\"unknown_service\"}' includes structured metadata, but this feature is disallowed. Please see `limits_config.allow_structured_metadata` or contact your Loki administrator to enable it"},
		{"no labels", func(l *limits.Limits) { l.DiscoverServiceName = nil }, `{}`, entryAt(stopped, "x"), MissingLabels,
			`error at least one label pair is required per stream`},
		{"long name", func(l *limits.Limits) { l.MaxLabelNameLength = 1 }, `{ab="c"}`, entryAt(stopped, "x"), LabelNameTooLong,
			`stream '{ab="c", service_name="unknown_service"}' has label name too long: 'ab'`},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := limits.Default()
			if c.limits != nil {
				c.limits(&l)
			}
			reg := prometheus.NewRegistry()
			rec := &recorder{}
			d, err := New(Config{Now: stoppedClock}, rec, limits.Fixed(l), nil, reg)
			if err != nil {
				t.Fatal(err)
			}
			err = d.Push(tenantContext(t), &PushRequest{Streams: []Stream{{Text: c.labels, Entries: []ingester.Entry{c.entry}}}})
			if !errors.Is(err, ErrRefused) || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			if rec.pushes != 0 {
				t.Error("the ingester was asked to store nothing")
			}
			if n := testutil.ToFloat64(d.metrics.discardedEntries.WithLabelValues(string(c.reason), "test")); n != 1 {
				t.Errorf("discarded samples for %s = %v, want 1", c.reason, n)
			}
		})
	}
}

// The edges of the accepted times belong to them.
func TestTimeEdges(t *testing.T) {
	d, rec := newTest(t, limits.Default(), Config{Now: stoppedClock})
	oldest, newest := stopped.Add(-7*24*time.Hour), stopped.Add(10*time.Minute)
	err := d.Push(tenantContext(t), &PushRequest{Streams: []Stream{{Text: `{a="b"}`, Entries: []ingester.Entry{
		entryAt(oldest, "x"), entryAt(oldest.Add(-1), "x"), entryAt(newest, "x"), entryAt(newest.Add(1), "x"),
	}}}})
	var e *PushError
	if !errors.As(err, &e) || e.Stored != 2 || e.Refused != 2 || len(rec.entries) != 2 {
		t.Errorf("stored %q: %v", rec.entries, err)
	}
}

// An answer stays short however much is refused, and tells if pushing again may help.
func TestManyRefusals(t *testing.T) {
	l := limits.Default()
	l.PerStreamRateLimit, l.PerStreamRateLimitBurst = 1, 1
	d, _ := newTest(t, l, Config{Now: stoppedClock})
	req := &PushRequest{}
	for i := range 1000 {
		req.Streams = append(req.Streams, Stream{Text: fmt.Sprintf(`{a="%d", long="%s"}`, i, strings.Repeat("x", 1000)), Entries: []ingester.Entry{
			entryAt(stopped.Add(time.Hour), "new"), entryAt(stopped.Add(time.Hour), "new"), entryAt(stopped, "too fast"),
		}})
	}
	err := d.Push(tenantContext(t), req)
	var e *PushError
	if !errors.As(err, &e) || e.Refused != 3000 || len(e.Refusals) != maxRefusals || !errors.Is(err, ErrRateLimited) {
		t.Fatalf("%+v", e)
	}
	listed := e.Unlisted
	for _, r := range e.Refusals {
		listed += r.Entries
	}
	if listed != e.Refused || len(err.Error()) > 20_000 || !strings.Contains(err.Error(), "(and 1 more entries of this stream)") || !strings.Contains(err.Error(), "more entries were refused") {
		t.Errorf("%d accounted for of %d; %.2000s", listed, e.Refused, err)
	}
}

func TestTruncate(t *testing.T) {
	l := limits.Default()
	l.MaxLineSize, l.MaxLineSizeTruncate = 4, true
	d, rec := newTest(t, l, Config{Now: stoppedClock})
	var entries []ingester.Entry
	for _, line := range []string{"abcd", "abcde", "abcé", "ab世世", "\x80\x80\x80\x80\x80\x80"} {
		entries = append(entries, entryAt(stopped, line))
	}
	if err := d.Push(tenantContext(t), &PushRequest{Streams: []Stream{{Text: `{service_name="b"}`, Entries: entries}}}); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"abcd", "abcd", "abc", "ab", "\x80\x80\x80\x80"} {
		if got := strings.Fields(rec.entries[i])[2]; got != want {
			t.Errorf("line %d is %q, want %q", i, got, want)
		}
	}
}

// Push leaves the request as it was.
func TestRequestUnchanged(t *testing.T) {
	make := func() *PushRequest {
		fields := []ingester.Field{{Name: "z.z", Value: []byte("1")}, {Name: "app", Value: []byte("2")}, {Name: "a", Value: []byte("\xff")}}
		return &PushRequest{Streams: []Stream{
			{Text: `{app="a"}`, Entries: []ingester.Entry{{Time: stopped.UnixNano(), Line: []byte("x"), Metadata: fields[:1]}, {Time: 1, Line: []byte("old")}}},
			{Labels: LabelSet{{Name: "b", Value: ""}, {Name: "app", Value: "a"}}, Entries: []ingester.Entry{{Time: stopped.UnixNano(), Line: []byte("x"), Metadata: fields}}},
		}}
	}
	d, _ := newTest(t, limits.Default(), Config{Now: stoppedClock})
	req := make()
	for range 2 {
		if err := d.Push(tenantContext(t), req); !errors.Is(err, ErrRefused) {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(req, make()) {
			t.Fatalf("the request became %+v", req)
		}
	}
}

func TestServiceName(t *testing.T) {
	d, rec := newTest(t, open(), Config{})
	for sent, want := range map[string]string{
		`{service_name="checkout", app="svc"}`:    `checkout`,
		`{service="cart", tier="a"}`:              `cart`,
		`{container="sidecar"}`:                   `sidecar`,
		`{job="node/exporter"}`:                   `node/exporter`,
		`{container_name="cn-1", job="j-1"}`:      `cn-1`,
		`{k8s_deployment_name="dep-1"}`:           `unknown_service`,
		`{service="svc-first", app="svc-app"}`:    `svc-first`,
		`{app_kubernetes_io_name="helm-chart"}`:   `helm-chart`,
		`{service_name="", k8s_container_name=x}`: ``,
	} {
		sent = strings.Replace(sent, "=x}", `="x"}`, 1)
		if want == "" {
			want = "x"
		}
		if err := d.Push(tenantContext(t), &PushRequest{Streams: []Stream{{Text: sent, Entries: []ingester.Entry{entryAt(stopped, "x")}}}}); err != nil {
			t.Fatal(err)
		}
		if got := rec.take()[0]; !strings.Contains(got, fmt.Sprintf(`service_name=%q`, want)) {
			t.Errorf("%s became %s, want service_name %s", sent, got, want)
		}
	}
}

// Limits may change between pushes, for streams that were seen before too.
func TestLimitsChange(t *testing.T) {
	now := limits.Default()
	d, err := New(Config{Now: stoppedClock}, &recorder{}, func(string) *limits.Limits { l := now; return &l }, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	push := func() error {
		return d.Push(tenantContext(t), &PushRequest{Streams: []Stream{{Text: `{a="1", b="2"}`, Entries: []ingester.Entry{entryAt(stopped, "xxx")}}}})
	}
	if err := push(); err != nil {
		t.Fatal(err)
	}
	now.MaxLabelNamesPerSeries = 1
	if err := push(); !errors.Is(err, ErrRefused) {
		t.Errorf("with a limit of labels: %v", err)
	}
	now.MaxLabelNamesPerSeries = 2
	now.IngestionRateMB, now.IngestionBurstSizeMB = 0.001, 0.000001
	if err := push(); !errors.Is(err, ErrRateLimited) {
		t.Errorf("with a rate: %v", err)
	}
	now.IngestionRateMB = 0
	if err := push(); err != nil {
		t.Errorf("without a rate: %v", err)
	}
}

// Hostile tenants, labels and names leave nothing behind that grows.
func TestBoundedState(t *testing.T) {
	reg := prometheus.NewRegistry()
	d, err := New(Config{Now: stoppedClock, StreamCache: 64 << 10, MaxTenants: 50}, &recorder{}, limits.Fixed(limits.Default()), nil, reg)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2000 {
		ctx := user.InjectOrgID(t.Context(), fmt.Sprint("tenant-", i))
		e := entryAt(stopped, "x")
		e.Metadata = []ingester.Field{{Name: fmt.Sprint("k.", i), Value: []byte("v")}}
		if err := d.Push(ctx, &PushRequest{Streams: []Stream{{Text: fmt.Sprintf(`{a="%d"}`, i), Entries: []ingester.Entry{e}}}}); err != nil {
			t.Fatal(err)
		}
	}
	if n := d.streams.len(); n > 64<<10/slotBytes {
		t.Errorf("%d streams are kept", n)
	}
	if n := d.rates.len(); n > 64<<10/rateBytes {
		t.Errorf("the rates of %d streams are kept", n)
	}
	if n := len(d.tenants.young) + len(d.tenants.old); n > 50 || n < 10 {
		t.Errorf("%d tenants are kept", n)
	}
	if n := testutil.CollectAndCount(d.metrics.lines); n > 50 {
		t.Errorf("%d tenants have metrics", n)
	}
}

func TestLabelBombs(t *testing.T) {
	d, rec := newTest(t, open(), Config{})
	huge := make(LabelSet, maxLabels+1)
	for i := range huge {
		huge[i] = Label{Name: fmt.Sprint("l", i), Value: "x"}
	}
	for _, s := range []Stream{
		{Labels: huge},
		{Labels: LabelSet{{Name: "a", Value: strings.Repeat("x", maxLabelBytes+1)}}},
		{Labels: LabelSet{{Name: strings.Repeat("x", maxLabelBytes+1), Value: "x"}}},
		{Text: `{a="` + strings.Repeat("x", maxLabelBytes) + `"}`},
	} {
		s.Entries = []ingester.Entry{entryAt(stopped, "x")}
		if err := d.Push(tenantContext(t), &PushRequest{Streams: []Stream{s}}); !errors.Is(err, ErrLabels) || len(err.Error()) > 1000 {
			t.Errorf("%.200v", err)
		}
	}
	s := Stream{Labels: huge[:maxLabels], Entries: []ingester.Entry{entryAt(stopped, "x")}}
	if err := d.Push(tenantContext(t), &PushRequest{Streams: []Stream{s}}); !errors.Is(err, ErrRefused) || len(err.Error()) > 2*maxTextLen {
		t.Errorf("%.200v", err)
	}
	if len(rec.entries) != 0 {
		t.Error("something was stored")
	}
}

func TestConfig(t *testing.T) {
	if _, err := New(Config{MaxBody: -1, MaxTenants: -1}, &recorder{}, limits.Fixed(limits.Default()), nil, nil); err == nil ||
		!strings.Contains(err.Error(), "MaxBody") || !strings.Contains(err.Error(), "MaxTenants") {
		t.Errorf("got %v", err)
	}
	if _, err := New(Config{}, nil, nil, nil, nil); err == nil {
		t.Error("nothing is needed")
	}
}

func TestLifecycle(t *testing.T) {
	d, _ := newTest(t, open(), Config{})
	if err := services.StartAndAwaitRunning(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if err := services.StopAndAwaitTerminated(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

func TestStreamLimit(t *testing.T) {
	d, rec := newTest(t, open(), Config{})
	over := labels.FromStrings("a", "2", "service_name", "unknown_service")
	rec.err = &ingester.StreamLimitError{Tenant: "test", Limit: 1, Streams: []labels.Labels{over}}
	err := d.Push(tenantContext(t), &PushRequest{Streams: []Stream{
		{Text: `{a="1"}`, Entries: []ingester.Entry{entryAt(stopped, "x")}},
		{Text: `{a="2"}`, Entries: []ingester.Entry{entryAt(stopped, "x"), entryAt(stopped, "y")}},
		{Text: `{a="3"}`, Entries: []ingester.Entry{entryAt(stopped.AddDate(100, 0, 0), "new")}},
	}})
	if !errors.Is(err, ingester.ErrStreamLimit) || !errors.Is(err, ErrRefused) {
		t.Errorf("got %v", err)
	}
	if n := testutil.ToFloat64(d.metrics.discardedEntries.WithLabelValues(string(StreamLimit), "test")); n != 2 {
		t.Errorf("%v entries counted, want 2", n)
	}
}

func TestInsertField(t *testing.T) {
	d, _ := newTest(t, open(), Config{})
	b := &batch{d: d}
	for _, name := range []string{"m", "a", "z", "m", "b", "a", "z"} {
		b.insertField(0, ingester.Field{Name: name, Value: []byte{byte(len(b.fields))}})
	}
	var names []string
	for _, f := range b.fields {
		names = append(names, f.Name)
	}
	if want := []string{"a", "b", "m", "z"}; !slices.Equal(names, want) || b.fields[0].Value[0] != 4 {
		t.Errorf("got %v", b.fields)
	}
}

// discardAll is an ingester for benchmarks.
type discardAll struct{}

func (discardAll) Push(context.Context, *ingester.PushRequest) error { return nil }

func BenchmarkPush(b *testing.B) {
	d, err := New(Config{Now: stoppedClock}, discardAll{}, limits.Fixed(open()), nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range benchLines {
		b.Run(c.name, func(b *testing.B) {
			req := &PushRequest{}
			for i := range 10 {
				s := Stream{Text: fmt.Sprintf(`{app="api", env="prod", pod="api-%d"}`, i)}
				for j := range 500 {
					e := entryAt(stopped, c.line)
					e.Metadata = []ingester.Field{{Name: "trace_id", Value: fmt.Appendf(nil, "%016x", j)}, {Name: "user.name", Value: []byte("ann")}}
					e.Line = bytes.Clone(e.Line)
					s.Entries = append(s.Entries, e)
				}
				req.Streams = append(req.Streams, s)
			}
			ctx := tenantContext(b)
			yardstick.Bytes(b, int64(5000*len(c.line)))
			for b.Loop() {
				if err := d.Push(ctx, req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestSharedRate divides a tenant's rate by the number of distributors, also when that changes.
func TestSharedRate(t *testing.T) {
	l := limits.Default()
	l.IngestionRateMB, l.IngestionBurstSizeMB = 4, 1
	n := 4
	d, _ := newTest(t, l, Config{Now: stoppedClock, Distributors: func() int { return n }})
	push := func() float64 {
		t.Helper()
		err := d.Push(tenantContext(t), &PushRequest{Streams: []Stream{{Text: `{a="b"}`, Entries: []ingester.Entry{entryAt(stopped, "x")}}}})
		if err != nil {
			t.Fatal(err)
		}
		return float64(d.tenant("test").rate.Limit()) / (1 << 20)
	}
	for _, c := range []struct {
		distributors int
		want         float64
	}{{4, 1}, {2, 2}, {0, 4}, {1, 4}} {
		if n = c.distributors; push() != c.want {
			t.Errorf("of %d distributors one takes %v MB/s, want %v", n, push(), c.want)
		}
	}
	l.IngestionRateStrategy, n = limits.LocalRate, 4
	d, _ = newTest(t, l, Config{Now: stoppedClock, Distributors: func() int { return n }})
	if got := push(); got != 4 {
		t.Errorf("with the strategy local one takes %v MB/s, want 4", got)
	}
}
