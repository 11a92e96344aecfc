package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"example.com/loki/internal/crashtest/process"
)

// bucket returns flags that say where segments are: in a folder, or in the S3 server of -e2e.s3.
func bucket(t *testing.T) []string {
	t.Helper()
	if *s3 == "" {
		return []string{"-local.chunk-directory", t.TempDir()}
	}
	return startS3(t).flags()
}

// objectStore is an S3 server that may go away and come back: that of -e2e.s3, or else objects.
type objectStore struct {
	addr, dir string
	objects   objects

	mu     sync.Mutex
	now    *process.Process
	server *http.Server
}

func startS3(t *testing.T) *objectStore {
	t.Helper()
	s := &objectStore{addr: fmt.Sprintf("127.0.0.1:%d", taken.take(t, 1)[0]), dir: t.TempDir(), objects: objects{all: map[string]object{}}}
	if err := os.Mkdir(filepath.Join(s.dir, "logs"), 0o777); err != nil { // the bucket
		t.Fatal(err)
	}
	s.start(t)
	t.Cleanup(s.kill)
	return s
}

func (s *objectStore) flags() []string {
	return []string{"-common.storage.s3.buckets=logs", "-common.storage.s3.endpoint", s.addr, "-common.storage.s3.insecure",
		"-common.storage.s3.force-path-style", "-common.storage.s3.access-key-id=tester", "-common.storage.s3.secret-access-key=tester-secret",
		"-common.storage.s3.region=us-east-1"}
}

// start starts the server and waits until it listens.
func (s *objectStore) start(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if *s3 == "" {
		l, err := net.Listen("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: &s.objects}
		s.server = server
		go func() { _ = server.Serve(l) }() // until kill
		return
	}
	s.now = process.Launch(t, *s3, "--access", "tester", "--secret", "tester-secret", "--port", s.addr, "posix", s.dir)
	until(t, "the S3 server does not start", func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.addr)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
}

// kill ends the server and its connections; what it has stored stays.
func (s *objectStore) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if *s3 == "" {
		_ = s.server.Close()
		return
	}
	s.now.Kill()
}
