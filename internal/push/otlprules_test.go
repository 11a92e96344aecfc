package push

import (
	"bytes"
	"strings"
	"testing"
	"time"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/proto"

	"example.com/loki/limits"
)

// TestOTLPRules: what becomes of attributes is what the first rule that names them says.
func TestOTLPRules(t *testing.T) {
	record := func(severity, body string) *logs.LogRecord {
		return &logs.LogRecord{TimeUnixNano: 9, SeverityText: severity, Body: str(body), Attributes: []*common.KeyValue{pair("http.path", str("/x")), pair("user", str("ann"))}}
	}
	b, err := proto.Marshal(&logs.LogsData{ResourceLogs: []*logs.ResourceLogs{{
		Resource: &resource.Resource{Attributes: []*common.KeyValue{
			pair("service.name", str("cart")), pair("host.name", str("h1")), pair("process.pid", num(7)), pair("os", pairs(pair("type", str("linux")))),
		}},
		ScopeLogs: []*logs.ScopeLogs{{
			Scope:      &common.InstrumentationScope{Name: "lib", Attributes: []*common.KeyValue{pair("s", str("t"))}},
			LogRecords: []*logs.LogRecord{record("WARN", "a"), record("", "b"), record("WARN", "c")},
		}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	all := func(meta, severity string) string { // the three records
		var s strings.Builder
		for _, body := range []string{"a", "b", "c"} {
			s.WriteString(`  9 "` + body + `" ` + strings.TrimSpace(strings.Replace(meta, "SEVERITY ", map[bool]string{true: severity}[body != "b"], 1)) + "\n")
		}
		return s.String()
	}
	const (
		label, keep, drop = limits.OTLPLabel, limits.OTLPMetadata, limits.OTLPDrop
		warn              = `severity_text="WARN" `
	)
	for name, test := range map[string]struct {
		rules limits.OTLP
		want  string
	}{
		"default": {*defaults(), "[{service_name cart}]\n" +
			all(`host_name="h1" process_pid="7" os_type="linux" scope_name="lib" s="t" SEVERITY http.path="/x" user="ann"`, warn)},
		"nothing is a label": {limits.OTLP{}, "[]\n" +
			all(`service.name="cart" host_name="h1" process_pid="7" os_type="linux" scope_name="lib" s="t" SEVERITY http.path="/x" user="ann"`, warn)},
		"rules before defaults": {limits.OTLP{
			Labels: limits.DefaultOTLPLabels(),
			Resource: []limits.OTLPRule{
				{Action: keep, Attributes: []string{"service.name"}},
				{Action: label, Regex: `host\..*`},
				{Action: drop, Regex: `host.*|process\..*|os_type`},
			},
			Scope: []limits.OTLPRule{{Action: drop, Attributes: []string{"s"}}},
			Log:   []limits.OTLPRule{{Action: keep, Attributes: []string{"user"}}, {Action: drop, Regex: ".*"}},
		}, "[{host_name h1}]\n" + all(`service.name="cart" scope_name="lib" SEVERITY user="ann"`, warn)},
		"the whole name": {limits.OTLP{Labels: []string{"service.name"}, IgnoreLabels: true, Resource: []limits.OTLPRule{
			{Action: drop, Regex: "ost"}, {Action: drop, Regex: "("}, {Action: drop, Regex: "host.name|process.pid|os_type|service.name"},
		}}, "[]\n" + all(`scope_name="lib" s="t" SEVERITY http.path="/x" user="ann"`, warn)},
		"severity as a label": {limits.OTLP{Labels: []string{"service.name"}, SeverityTextAsLabel: true, Resource: []limits.OTLPRule{{Action: drop, Regex: "host.*|process.*|os.*"}}},
			"[{service_name cart} {severity_text WARN}]\n" +
				`  9 "a" scope_name="lib" s="t" http.path="/x" user="ann"` + "\n" + `  9 "c" scope_name="lib" s="t" http.path="/x" user="ann"` + "\n" +
				"[{service_name cart}]\n" + `  9 "b" scope_name="lib" s="t" http.path="/x" user="ann"` + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got := mustDecode(t, func(d *Decoder) (*Request, error) {
				return d.OTLP(Body{Reader: bytes.NewReader(b), Length: -1, ContentType: "application/x-protobuf"}, &test.rules, time.Unix(0, 99))
			})
			// Names of metadata are cleaned later; here some have their dots yet.
			clean := strings.NewReplacer("host.name", "host_name", "process.pid", "process_pid")
			if clean.Replace(got) != test.want {
				t.Errorf("got\n%swant\n%s", got, test.want)
			}
		})
	}
}
