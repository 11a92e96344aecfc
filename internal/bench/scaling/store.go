package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// objectStore is an S3 server behind a proxy that counts the requests.
type objectStore struct {
	cmd    *exec.Cmd
	log    *os.File
	addr   string // of the proxy
	server *http.Server
	served chan error

	mu     sync.Mutex
	counts map[string]int // by method; LIST is a GET of a list
}

func startStore(ctx context.Context, program, dir string, port int) (*objectStore, error) {
	files := filepath.Join(dir, "s3")
	if err := os.MkdirAll(filepath.Join(files, "logs"), 0o750); err != nil { // a folder is a bucket
		return nil, err
	}
	s := &objectStore{counts: map[string]int{}, served: make(chan error, 1)}
	var err error
	if s.log, err = os.Create(filepath.Join(dir, "s3.log")); err != nil {
		return nil, err
	}
	behind := fmt.Sprint("127.0.0.1:", port)
	s.cmd = exec.Command(program, "--access", "loki", "--secret", "loki-secret", "--port", behind, "posix", files)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, s.cmd.Process.Kill(), s.cmd.Wait())
	}
	s.addr = l.Addr().String()
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: behind}) // the Host, which is signed, stays
	s.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodGet && r.URL.Query().Has("list-type") {
			method = "LIST"
		}
		s.mu.Lock()
		s.counts[method]++
		s.mu.Unlock()
		proxy.ServeHTTP(w, r)
	})}
	go func() { s.served <- s.server.Serve(l) }()
	for range 200 {
		if c, err := net.Dial("tcp", behind); err == nil {
			return s, c.Close()
		}
		pause(ctx, 50*time.Millisecond)
	}
	return nil, errors.Join(fmt.Errorf("%s does not listen on %s", program, behind), s.stop())
}

func (s *objectStore) flags() []string {
	const f = "-common.storage.s3."
	return []string{f + "buckets=logs", f + "endpoint=" + s.addr, f + "insecure", f + "force-path-style", f + "region=us-east-1",
		f + "access-key-id=loki", f + "secret-access-key=loki-secret"}
}

// requests returns how many there were so far.
func (s *objectStore) requests() map[string]int {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.counts)
}

func (s *objectStore) stop() error {
	err := s.server.Close()
	if e := <-s.served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	err = errors.Join(err, s.cmd.Process.Signal(os.Interrupt))
	_ = s.cmd.Wait() // says that it was interrupted
	return errors.Join(err, s.log.Close())
}
