package distributor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"example.com/loki/ingester"
	"example.com/loki/internal/wire"
)

func post(h http.Handler, path, contentType, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const goodPush = `{"streams":[{"stream":{"a":"b"},"values":[["1767571200000000000","x"]]}]}`

func TestStatusOfErrors(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		retry  bool
	}{
		{nil, 204, false},
		{ingester.ErrDiskFull, 503, true},
		{fmt.Errorf("replaying: %w", ingester.ErrNotReady), 503, true},
		{ingester.ErrWriteLog, 503, true},
		{&ingester.StreamLimitError{Tenant: "test", Limit: 1}, 429, false},
		{ingester.ErrTooLarge, 413, false},
		{wire.RequestTooLarge(1), 413, false},
		{fmt.Errorf("push: %w", wire.ErrMessageSize), 413, false},
		{context.Canceled, 499, false},
		{context.DeadlineExceeded, 504, false},
		{errors.New("surprise"), 500, false},
	} {
		d, rec := newTest(t, open(), Config{})
		rec.err = c.err
		w := post(serve(d), "/loki/api/v1/push", "application/json", goodPush)
		if w.Code != c.status || (w.Header().Get("Retry-After") != "") != c.retry {
			t.Errorf("%v: status %d, Retry-After %q", c.err, w.Code, w.Header().Get("Retry-After"))
		}
		if c.err != nil && !strings.Contains(w.Body.String(), c.err.Error()) {
			t.Errorf("%v: body %q", c.err, w.Body)
		}
	}
}

func TestRateStatus(t *testing.T) {
	l := open()
	l.IngestionBurstSizeMB = 0.0000001
	d, _ := newTest(t, l, Config{})
	w := post(serve(d), "/loki/api/v1/push", "application/json", goodPush)
	const want = "Ingestion rate limit exceeded for user test (limit: 1048576000 bytes/sec) while attempting to ingest '1' lines totaling '1' bytes, " +
		"reduce log volume or contact your Loki administrator to see if the limit can be increased"
	if w.Code != 429 || !strings.HasPrefix(w.Body.String(), want) || !strings.Contains(w.Body.String(), "can never succeed") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	l = open()
	l.PerStreamRateLimit, l.PerStreamRateLimitBurst = 3<<20, 0
	d, _ = newTest(t, l, Config{})
	w = post(serve(d), "/loki/api/v1/push", "application/json", goodPush)
	if w.Code != 429 || !strings.HasPrefix(w.Body.String(), `Per stream rate limit exceeded (limit: 3MB/sec) while attempting to ingest for stream '{a="b", service_name="unknown_service"}' totaling 1B, consider splitting`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestTooLarge(t *testing.T) {
	d, _ := newTest(t, open(), Config{MaxBody: 100})
	h := serve(d)
	for _, path := range []string{"/loki/api/v1/push", "/api/prom/push", "/otlp/v1/logs"} {
		if w := post(h, path, "application/json", strings.Repeat(" ", 101)); w.Code != 413 || !strings.Contains(w.Body.String(), "100 bytes") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if n := testutil.ToFloat64(d.metrics.discardedSize.WithLabelValues(string(BodyTooLarge), "test")); n != 303 {
		t.Errorf("%v bytes counted, want 303", n)
	}
}

func TestBrokenBody(t *testing.T) {
	d, _ := newTest(t, open(), Config{})
	r := httptest.NewRequest(http.MethodPost, "/loki/api/v1/push", iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(goodPush))))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	serve(d).ServeHTTP(w, r)
	if w.Code != 400 || !strings.Contains(w.Body.String(), "could not be read to its end") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestPromPushEndpoint(t *testing.T) {
	d, rec := newTest(t, open(), Config{})
	h := serve(d)
	if w := post(h, "/api/prom/push", "application/json", `{"streams":[{"labels":"{a=\"b\"}","entries":[{"ts":"2026-01-05T00:00:00Z","line":"x"}]}]}`); w.Code != 204 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if want := []string{`{a="b", service_name="unknown_service"} 1767571200000000000 x detected_level=unknown`}; !slices.Equal(rec.take(), want) {
		t.Errorf("stored something else than %q", want)
	}
	w := post(h, "/api/prom/push", "application/json", `{"streams":[{"labels":"{a-b=\"b\"}"}]}`)
	if w.Code != 400 || !strings.Contains(w.Body.String(), "1:3: parse error: unexpected character inside braces: '-'") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func otlpBody(t *testing.T, at time.Time) string {
	t.Helper()
	text := func(s string) *v1.AnyValue {
		return &v1.AnyValue{Value: &v1.AnyValue_StringValue{StringValue: s}}
	}
	b, err := proto.Marshal(&logs.LogsData{ResourceLogs: []*logs.ResourceLogs{{
		Resource: &resource.Resource{Attributes: []*v1.KeyValue{{Key: "service.name", Value: text("cart")}, {Key: "service.version", Value: text("1.2")}}},
		ScopeLogs: []*logs.ScopeLogs{{Scope: &v1.InstrumentationScope{Name: "lib"}, LogRecords: []*logs.LogRecord{
			{TimeUnixNano: uint64(at.UnixNano()), Body: text("hello"), SeverityNumber: 17},
		}}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestOTLP(t *testing.T) {
	d, rec := newTest(t, open(), Config{Now: stoppedClock})
	h := serve(d)
	if w := post(h, "/otlp/v1/logs", "application/x-protobuf", otlpBody(t, stopped)); w.Code != 204 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	want := []string{fmt.Sprintf(`{service_name="cart"} %d hello detected_level=error scope_name=lib service_version=1.2 severity_number=17`, stopped.UnixNano())}
	if got := rec.take(); !slices.Equal(got, want) {
		t.Errorf("stored %q, want %q", got, want)
	}
	// Nothing to store is a success.
	for _, c := range [][2]string{{"application/x-protobuf", ""}, {"application/json", "{}"}, {"application/json", `{"resourceLogs":[{"scopeLogs":[]}]}`}} {
		if w := post(h, "/otlp/v1/logs", c[0], c[1]); w.Code != 204 {
			t.Errorf("%q: %d %s", c, w.Code, w.Body)
		}
	}
}

// decodeStatus reads a google.rpc.Status.
func decodeStatus(t *testing.T, b []byte) (code uint64, message string) {
	t.Helper()
	_, _, n := protowire.ConsumeTag(b)
	code, m := protowire.ConsumeVarint(b[n:])
	b = b[n+m:]
	num, typ, n := protowire.ConsumeTag(b)
	if num != 2 || typ != protowire.BytesType {
		t.Fatalf("field %d of type %d where the message should be", num, typ)
	}
	message, m = protowire.ConsumeString(b[n:])
	if n+m != len(b) {
		t.Fatalf("the status has %d bytes more than expected", len(b)-n-m)
	}
	return code, message
}

func TestOTLPErrors(t *testing.T) {
	d, rec := newTest(t, open(), Config{Now: stoppedClock})
	h := serve(d)

	w := post(h, "/otlp/v1/logs", "application/x-protobuf", otlpBody(t, stopped.Add(time.Hour)))
	if code, message := decodeStatus(t, w.Body.Bytes()); w.Code != 400 || w.Header().Get("Content-Type") != "application/x-protobuf" ||
		code != 3 || !strings.Contains(message, "timestamp too new") {
		t.Errorf("%d %s %d %s", w.Code, w.Header(), code, message)
	}
	w = post(h, "/otlp/v1/logs", "application/json", `{"resourceLogs":1}`)
	var answer struct {
		Code    int
		Message string
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 400 || w.Header().Get("Content-Type") != "application/json" ||
		answer.Code != 3 || !strings.Contains(answer.Message, "expected an array for resourceLogs") {
		t.Errorf("%d %s %+v: %v", w.Code, w.Header(), answer, err)
	}
	rec.err = ingester.ErrNotReady
	w = post(h, "/otlp/v1/logs", "application/x-protobuf", otlpBody(t, stopped))
	if code, _ := decodeStatus(t, w.Body.Bytes()); w.Code != 503 || code != 14 || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %s %d", w.Code, w.Header(), code)
	}
	if w = post(h, "/otlp/v1/logs", "text/plain", "x"); w.Code != 400 || !bytes.Contains(w.Body.Bytes(), []byte("not supported")) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
