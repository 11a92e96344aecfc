package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"example.com/loki/limits"
)

func noEnv(string) (string, bool) { return "", false }

// load writes a file, if it isn't empty, and loads it with further arguments.
func load(t *testing.T, file string, args ...string) (*Config, error) {
	t.Helper()
	if file != "" {
		path := filepath.Join(t.TempDir(), "loki.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append([]string{"-config.file", path}, args...)
	}
	return Load(args, func(name string) (string, bool) {
		v, ok := map[string]string{"PORT": "4711", "EMPTY": ""}[name]
		return v, ok
	})
}

func TestNothing(t *testing.T) {
	c, err := Load(nil, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c, Default()) {
		t.Errorf("Load(nil) = %+v, want the defaults", c)
	}
	if c.AuthEnabled || c.Server.HTTPAddress != "127.0.0.1" || c.Server.HTTPPort != 3100 || c.Dir != "./loki-data" {
		t.Errorf("defaults = %+v", c)
	}
}

func TestConformanceFile(t *testing.T) {
	c, err := Load([]string{"-config.file", "testdata/server.yaml", "-server.http-listen-port=0"}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	want := limits.Default()
	want.RejectOldSamples = false
	want.IngestionRateMB, want.IngestionBurstSizeMB = 1000, 1000
	want.PerStreamRateLimit, want.PerStreamRateLimitBurst = 1<<30, 1<<30
	want.MaxQueryLength = 0
	if !reflect.DeepEqual(c.Limits, want) {
		t.Errorf("limits = %+v\nwant     %+v", c.Limits, want)
	}
	if c.AuthEnabled || c.Server.HTTPPort != 0 {
		t.Errorf("auth = %v, port = %d, want false and 0", c.AuthEnabled, c.Server.HTTPPort)
	}
	ignored := []string{"compactor.delete_request_store", "pattern_ingester.enabled"}
	if !reflect.DeepEqual(c.Ignored, ignored) {
		t.Errorf("ignored = %q, want %q", c.Ignored, ignored)
	}
}

func TestPrecedence(t *testing.T) {
	const file = "server:\n  http_listen_port: 1\n  http_listen_address: a\nauth_enabled: false\n"
	c, err := load(t, file, "-server.http-listen-port", "2", "--log.level=debug")
	if err != nil {
		t.Fatal(err)
	}
	if c.Server.HTTPPort != 2 || c.Server.HTTPAddress != "a" || c.LogLevel != "debug" || c.AuthEnabled {
		t.Errorf("got %+v", c)
	}
	// The flag counts though it stands before the file.
	c, err = Load([]string{"-auth.enabled=false", "-config.file=testdata/missing.yaml,testdata/empty.yaml"}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if c.AuthEnabled || c.File != "testdata/empty.yaml" {
		t.Errorf("auth = %v with %s", c.AuthEnabled, c.File)
	}
	if c, err = load(t, "# nothing\n"); err != nil || !c.AuthEnabled || c.Server.HTTPAddress != "" {
		t.Errorf("a file without settings: %+v, %v; want Loki's defaults", c, err)
	}
}

func TestValues(t *testing.T) {
	const file = `
limits_config:
  max_query_length: 30d1h
  max_query_range: 1h30m
  query_timeout: 1w
  max_line_size: 64KB
  per_stream_rate_limit: 1.5 MB
  max_query_bytes_read: 2GB
  ingestion_rate_mb: 2.5
  reject_old_samples: no
  discover_service_name: [app, "job"]
  log_level_fields: []
  volume_enabled:
`
	c, err := load(t, file, "-querier.max-query-lookback=1.5h", "-validation.discover-service-name=a",
		"-validation.discover-service-name=b", "-limits.volume-enabled", "-distributor.max-line-size-truncate")
	if err != nil {
		t.Fatal(err)
	}
	want := limits.Default()
	want.MaxQueryLength = 721 * time.Hour
	want.MaxQueryRange = 90 * time.Minute
	want.QueryTimeout = 7 * 24 * time.Hour
	want.MaxQueryLookback = 90 * time.Minute
	want.MaxLineSize = 64 << 10
	want.MaxLineSizeTruncate = true
	want.PerStreamRateLimit = 3 << 19
	want.MaxQueryBytesRead = 2 << 30
	want.IngestionRateMB = 2.5
	want.RejectOldSamples = false
	want.DiscoverServiceName = []string{"a", "b"}
	want.LogLevelFields = []string{}
	if !reflect.DeepEqual(c.Limits, want) {
		t.Errorf("limits = %+v\nwant     %+v", c.Limits, want)
	}
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		name, file string
		args       []string
		want       []string
	}{
		{"misspelt key", "limits_config:\n  max_line_siz: 1\n", nil, []string{"line 2: unknown key limits_config.max_line_siz; did you mean limits_config.max_line_size?"}},
		{"misspelt block", "limit_config:\n  max_line_size: 1\n", nil, []string{"line 1: unknown key limit_config; did you mean limits_config?"}},
		{"key in a wrong block", "server:\n  max_query_series: 1\n", nil, []string{"did you mean limits_config.max_query_series?"}},
		{"nothing like it", "zzzzzzzz: 1\n", nil, []string{"line 1: unknown key zzzzzzzz"}},
		{"all mistakes at once", "limits_config:\n  max_line_size: big\n  query_timeout: soon\n  volume_enabled: perhaps\n", nil,
			[]string{"line 2: limits_config.max_line_size: \"big\" is not a size", "line 3:", "\"soon\" is not a duration", "line 4:", "neither true nor false"}},
		{"negative", "limits_config:\n  max_query_series: -1\n", nil, []string{"not a whole number"}},
		{"twice", "server:\n  http_listen_port: 1\n  http_listen_port: 2\n", nil, []string{"line 3: server.http_listen_port is there twice"}},
		{"text for a block", "server: here\n", nil, []string{"server: expected settings"}},
		{"list for a number", "limits_config:\n  max_query_series: [1]\n", nil, []string{"expected a number"}},
		{"no mapping", "- a\n", nil, []string{"expected settings"}},
		{"no YAML", "a: [\n", nil, []string{"yaml"}},
		{"other object store", "schema_config:\n  configs:\n    - from: 2024-01-01\n      object_store: gcs\n", nil, []string{`object_store "gcs" is not available`}},
		{"an endpoint without a bucket", "common:\n  storage:\n    s3: {endpoint: \"localhost:9000\"}\n", nil, []string{`common.storage.s3 has an endpoint and no bucketnames`}},
		{"variables that are not expanded", "server:\n  http_listen_port: ${PORT}\n", nil, []string{`-config.expand-env only`}},
		{"object store without a bucket", "schema_config:\n  configs:\n    - from: 2024-01-01\n      object_store: s3\n", nil, []string{`object_store is s3; set common.storage.s3.bucketnames`}},
		{"other ring", "common:\n  ring:\n    kvstore:\n      store: consul\n", nil, []string{`kvstore "consul" is not available here; use memberlist`}},
		{"replicas of nobody", "", []string{"-replication-factor=3"}, []string{"set memberlist.join_members"}},
		{"unknown key in a list", "schema_config:\n  configs:\n    - form: 2024-01-01\n", nil, []string{"did you mean schema_config.configs[].from?"}},
		{"certificate in the file", "server:\n  http_tls_config:\n    client_ca: abc\n", nil, []string{"can't be honoured"}},
		{"unknown flag", "", []string{"-server.http-listen-prt=1"}, []string{"unknown flag -server.http-listen-prt; did you mean -server.http-listen-port?"}},
		{"no value", "", []string{"-log.level"}, []string{"flag -log.level needs a value"}},
		{"no flag", "", []string{"serve"}, []string{`"serve" is not a flag`}},
		{"bad value", "", []string{"-server.http-listen-port=x"}, []string{"flag -server.http-listen-port"}},
		{"port", "", []string{"-server.http-listen-port=70000"}, []string{"ports are 0 to 65535"}},
		{"target", "", []string{"-target=querier,wrote"}, []string{`target wrote does not exist; there are: all, write,`}},
		{"level", "", []string{"-log.level=loud"}, []string{`log level "loud" does not exist`}},
		{"format", "", []string{"-log.format=xml"}, []string{`log format "xml" does not exist`}},
		{"half of TLS", "", []string{"-server.http-tls-cert-path=x"}, []string{"needs both"}},
		{"half of TLS over gRPC", "", []string{"-server.grpc-tls-key-path=x"}, []string{"server.grpc_tls_config needs both"}},
		{"certificates of clients alone", "", []string{"-server.grpc-tls-ca-path=x"}, []string{"server.grpc_tls_config asks clients for certificates and has none itself"}},
		{"demand of certificates alone", "", []string{"-server.http-tls-client-auth=RequireAndVerifyClientCert"}, []string{"server.http_tls_config asks clients"}},
		{"certificates of nobody", "", []string{"-server.http-tls-cert-path=x", "-server.http-tls-key-path=x", "-server.http-tls-client-auth=RequireAndVerifyClientCert"}, []string{"needs client_ca_file"}},
		{"demand of certificates", "", []string{"-server.http-tls-client-auth=Always"}, []string{`client_auth_type "Always" does not exist`}},
		{"compression", "", []string{"-ingester.client.grpc-compression=lz77"}, []string{`"lz77" is not one of`}},
		{"prefix", "", []string{"-server.path-prefix=logs"}, []string{"must begin with /"}},
		{"unclosed variable", "a: ${B\n", []string{"-config.expand-env"}, []string{"line 1: ${ without }"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := load(t, c.file, c.args...)
			if err == nil {
				t.Fatalf("no error; got %+v", got)
			}
			if !errors.Is(err, ErrUsage) {
				t.Errorf("error is not ErrUsage: %v", err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error lacks %q: %v", w, err)
				}
			}
		})
	}
	if _, err := Load([]string{"-config.file=testdata/missing.yaml"}, noEnv); err == nil || errors.Is(err, ErrUsage) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestIgnored(t *testing.T) {
	c, err := load(t, `
memberlist:
  node_name: a
ruler:
  flush_period: 1m
limits_config:
  cardinality_limit: 7
  retention_stream:
    - selector: '{a="b"}'
      period: 24h
  retention_period: 30d
analytics:
  reporting_enabled: false
schema_config:
  configs:
    - from: 2024-01-01
      store: tsdb
      object_store: filesystem
      index: {prefix: index_, period: 24h}
common:
  replication_factor: 1
`, "-boltdb.dir=x", "-ingester.max-ignored-stream-errors", "3", "-querier.align-querier-with-step")
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(c.Ignored, " ")
	for _, want := range []string{"memberlist.node_name", "ruler.flush_period", "limits_config.cardinality_limit", "limits_config.retention_stream", "limits_config.retention_period",
		"-boltdb.dir", "-ingester.max-ignored-stream-errors", "-querier.align-querier-with-step"} {
		if !strings.Contains(got, want) {
			t.Errorf("ignored lacks %s: %s", want, got)
		}
	}
	if strings.Contains(got, "analytics") || strings.Contains(got, "replication") {
		t.Errorf("ignored has what asks for nothing else than what happens: %s", got)
	}
}

func TestExpand(t *testing.T) {
	c, err := load(t, "server:\n  http_listen_port: ${PORT}\n  grpc_listen_port: ${UNSET:-9}\n  http_listen_address: \"${EMPTY:-x}${UNSET}\"\n", "-config.expand-env=true")
	if err != nil {
		t.Fatal(err)
	}
	if c.Server.HTTPPort != 4711 || c.Server.GRPCPort != 9 || c.Server.HTTPAddress != "x" {
		t.Errorf("got %+v", c.Server)
	}
	if _, err := load(t, "server:\n  http_listen_port: ${PORT}\n"); err == nil {
		t.Error("expanded without -config.expand-env")
	}
	for in, want := range map[string]string{
		"a$b$":      "a$b$",
		"$${PORT}":  "${PORT}",
		"${PORT:x}": "4711",
		"${U:=x}":   "x",
		"${U:?x}":   "x",
	} {
		got, err := expand(in, func(n string) (string, bool) { return map[string]string{"PORT": "4711"}[n], true })
		if err != nil || got != want {
			t.Errorf("expand(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestAliasBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("x0: &x0 {server: {http_listen_port: 1}}\n")
	b.WriteString("common: &a\n  <<: [")
	for i := range 200_000 {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString("*x0")
	}
	b.WriteString("]\n")
	if _, err := load(t, b.String()); err == nil {
		t.Error("no error")
	}
}

// TestTargetSuggestion shows what whoever misspells a target is told.
func TestTargetSuggestion(t *testing.T) {
	for target, want := range map[string]string{"distribtor": "did you mean distributor?", "query_frontend": "did you mean query-frontend?", "xyzzy": "there are: all"} {
		if _, err := load(t, "", "-target=ingester,"+target); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("-target=%s: %v; want %q in it", target, err, want)
		}
	}
}

// TestNamesAreLokis shows that what a setting is called is what Loki calls it.
func TestNamesAreLokis(t *testing.T) {
	keys, flags := parseNames(keysText, "*"), parseNames(flagsText, "!")
	if len(keys) < 3000 || len(flags) < 2900 {
		t.Fatalf("%d keys and %d flags are known", len(keys), len(flags))
	}
	for _, g := range groups(Default()) {
		for _, s := range g.settings {
			if strings.Contains(s.help, "not in Loki") || s.flag == "help" {
				continue
			}
			if _, ok := keys[s.key]; !ok && s.key != "" {
				t.Errorf("Loki has no key %s", s.key)
			}
			needsNone, ok := flags[s.flag]
			if !ok && s.flag != "" {
				t.Errorf("Loki has no flag -%s", s.flag)
			}
			if needsNone != (s.kind == "bool") && ok {
				t.Errorf("-%s: needs no value: %v", s.flag, needsNone)
			}
		}
	}
}

// TestEveryLimit shows that no limit was forgotten.
func TestEveryLimit(t *testing.T) {
	c := Default()
	for _, s := range slices.Concat(writeLimits(c), readLimits(c), rulerLimits(c), retentionLimits(c)) {
		if s.decode != nil {
			var n yaml.Node
			text := map[string]string{
				"limits_config.retention_stream": `[{selector: '{a="b"}', period: 7d}]`,
				"limits_config.otlp_config":      `{log_attributes: [{action: drop, regex: 'x.*'}]}`,
				"limits_config.blocked_queries":  `[{pattern: '{a="b"}'}]`,
			}[s.key]
			if err := yaml.Unmarshal([]byte(text), &n); err != nil {
				t.Fatal(err)
			}
			if err := s.decode(n.Content[0]); err != nil {
				t.Error(err)
			}
			continue
		}
		for _, v := range []string{"7", "true", "7h", "filter-only"} {
			before := c.Limits
			if err := s.set(v); err == nil && !reflect.DeepEqual(before, c.Limits) {
				break
			}
		}
	}
	was, is := reflect.ValueOf(limits.Default()), reflect.ValueOf(c.Limits)
	for i := range was.NumField() {
		name := was.Type().Field(i).Name
		if was.Field(i).Kind() == reflect.Bool {
			continue // most are true already
		}
		if reflect.DeepEqual(was.Field(i).Interface(), is.Field(i).Interface()) {
			t.Errorf("no setting changes Limits.%s", name)
		}
	}
}

func TestPrintedConfigurationCanBeRead(t *testing.T) {
	c, err := load(t, "", "-validation.discover-service-name=a,b", "-server.http-listen-port=1", "-querier.query-timeout=90s", "-distributor.max-line-size=7")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := c.WriteYAML(&b); err != nil {
		t.Fatal(err)
	}
	again, err := load(t, b.String())
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	again.File, again.files = "", ""
	if !reflect.DeepEqual(c, again) {
		t.Errorf("got %+v\nwant %+v", again, c)
	}
}

func TestHelp(t *testing.T) {
	var b strings.Builder
	WriteHelp(&b)
	for _, want := range []string{"-config.file", "-server.http-listen-port NUMBER", "[3100]", "-limits.volume-enabled", "Limits on queries"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("help lacks %q", want)
		}
	}
	for l := range strings.Lines(b.String()) {
		if len(l) > 150 {
			t.Errorf("long line: %s", l)
		}
	}
}

func TestIndexGateways(t *testing.T) {
	const file = `
memberlist: {join_members: [a]}
common: {path_prefix: /data, storage: {s3: {bucketnames: b, endpoint: localhost:1, insecure: true}}}
index_gateway: {mode: ring, ring: {replication_factor: 2, kvstore: {store: memberlist}}}
storage_config: {tsdb_shipper: {cache_location: /data/index-cache}}
`
	c, err := load(t, file)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Ignored) > 0 {
		t.Errorf("without effect: %q", c.Ignored)
	}
	e, err := c.Engine(nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, _ := c.Membership()
	if !e.Cluster.IndexGatewayRing || e.Store.IndexDir != "/data/index-cache" || m.GatewayReplication != 2 || m.GatewayTokensFile != filepath.Join("/data", "index-gateway-tokens") {
		t.Errorf("ring %t, copies in %q, %d gateways a tenant, tokens in %q", e.Cluster.IndexGatewayRing, e.Store.IndexDir, m.GatewayReplication, m.GatewayTokensFile)
	}
	// Alone, and with segments in a folder, there is nothing to find or to copy.
	c, err = load(t, "index_gateway: {mode: ring}\nstorage_config: {tsdb_shipper: {cache_location: /data/index-cache}}")
	if err != nil {
		t.Fatal(err)
	}
	if e, err = c.Engine(nil, nil, nil); err != nil || e.Cluster.IndexGatewayRing || e.Store.IndexDir != "" {
		t.Errorf("ring %t, copies in %q, %v", e.Cluster.IndexGatewayRing, e.Store.IndexDir, err)
	}
	if _, err := load(t, "index_gateway: {mode: star}"); err == nil || !strings.Contains(err.Error(), "star") {
		t.Errorf("an unknown mode: %v", err)
	}
}
