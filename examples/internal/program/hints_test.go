package program

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// run runs a program that ends by itself and returns what it printed.
func run(t *testing.T, p Program, args ...string) (code int, output string) {
	t.Helper()
	var b bytes.Buffer
	code = p.run(t.Context(), args, &b, &b)
	return code, b.String()
}

// TestQuestions asks programs that run some targets only.
func TestQuestions(t *testing.T) {
	groups := Program{Name: "groups", About: "Groups.", Targets: []string{"write", "read"}}
	one := Program{Name: "querier", About: "A querier.", Targets: []string{"querier"}}
	for _, c := range []struct {
		program Program
		args    []string
		code    int
		want    string
	}{
		{groups, []string{"-help"}, 0, "Usage: groups"},
		{groups, []string{"-list-targets"}, 0, "write\nread\n"},
		{groups, []string{"-version"}, 0, "loki "},
		{groups, nil, 2, "-target can be write, read"},
		{groups, []string{"-target=backend"}, 2, `target "backend" is not one of groups`},
		{one, []string{"-help"}, 0, "A querier."},
		{one, []string{"-list-targets"}, 0, "querier\n"},
		{one, []string{"-target=ruler"}, 2, `target "ruler" is not one of querier`},
		{one, []string{"-verify-config", "-print-config-stderr"}, 0, "path_prefix: ./loki-data"},
		{one, []string{"-verify-config", "-print-config-stderr"}, 0, "The configuration is valid."},
		{one, []string{"-verify-config", "-runtime-config.file=nowhere.yaml"}, 1, "no such file: nowhere.yaml"},
		{one, []string{"-verify-config", "-server.http-tls-cert-path=nowhere.crt", "-server.http-tls-key-path=nowhere.key"}, 1, "nowhere.crt"},
		{one, []string{"-verify-config", "-ingester.client.tls-enabled", "-ingester.client.tls-ca-path=nowhere.crt"}, 1, "nowhere.crt"},
	} {
		if code, out := run(t, c.program, c.args...); code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%s %q = %d, want %d and %q in:\n%.2000s", c.program.Name, c.args, code, c.code, c.want, out)
		}
	}
}

// TestStartThatCannotWork shows that each error names the setting that cures it.
func TestStartThatCannotWork(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	bucket := []string{"-common.storage.s3.endpoint", nobody, "-common.storage.s3.access-key-id=a", "-common.storage.s3.secret-access-key=b",
		"-common.storage.s3.buckets=logs", "-common.storage.s3.insecure", "-common.storage.s3.region=here", "-common.storage.s3.force-path-style", "-common.storage.s3.max-backoff=100ms", "-common.storage.s3.max-retries=1"}
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"port in use", []string{"-server.http-listen-port", port}, "use another port: -server.http-listen-port=0"},
		{"gRPC port in use", []string{"-target=query-scheduler", "-server.grpc-listen-address=127.0.0.1", "-server.grpc-listen-port", port}, "-server.grpc-listen-port=0"},
		{"address of another machine", []string{"-server.http-listen-address=203.0.113.77"}, "set -server.http-listen-address to one that it has"},
		{"a folder that is a file", []string{"-common.path-prefix", file}, "set common.path_prefix"},
		{"targets without ingesters", []string{"-target=distributor,querier", "-server.grpc-listen-port=0"}, "-target=distributor,querier needs ingesters, and none is known: name members of their cluster in memberlist.join_members"},
		{"nobody at the address of the bucket", bucket, "check common.storage.s3.endpoint"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"-server.http-listen-port=0", "-common.path-prefix", t.TempDir()}, c.args...)
			if code, out := run(t, Program{Name: "test"}, args...); code != 1 || !strings.Contains(out, c.want) || strings.Count(strings.TrimSpace(out), "\n") > 2 {
				t.Errorf("exit code %d; want 1 and %q, and little more, in:\n%s", code, c.want, out)
			}
		})
	}
}
