package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/loki/internal/route"
)

// start serves h and returns its address and a function that stops it and returns Serve's error.
func start(t *testing.T, h http.Handler, opts ServeOptions) (string, func() error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, h, opts) }()
	stopped := false
	stop := func() error {
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if !stopped {
			_ = stop()
		}
	})
	return l.Addr().String(), stop
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSlowHeadersAreCutOff(t *testing.T) {
	addr, stop := start(t, http.NotFoundHandler(), ServeOptions{ReadHeaderTimeout: 50 * time.Millisecond})
	c := dial(t, addr)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("the server kept a connection that sends no headers: %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestSlowBodyIsCutOff(t *testing.T) {
	read := make(chan error, 1)
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		read <- err
	})
	addr, stop := start(t, h, ServeOptions{ReadTimeout: 50 * time.Millisecond})
	c := dial(t, addr)
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
	var timeout net.Error
	if err := <-read; !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("reading the body = %v, want a timeout", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestOversizedHeader(t *testing.T) {
	addr, stop := start(t, http.NotFoundHandler(), ServeOptions{MaxHeaderBytes: 10 << 10})
	c := dial(t, addr)
	go fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\nX-Large: %s\r\n\r\n", strings.Repeat("x", 20<<10))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status = %d, want 431", resp.StatusCode)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestReaderWhoDoesNotReadIsCutOff(t *testing.T) {
	wrote := make(chan error, 1)
	endless := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		buf := make([]byte, 1<<20)
		for {
			if _, err := w.Write(buf); err != nil {
				wrote <- err
				return
			}
		}
	})
	addr, stop := start(t, endless, ServeOptions{WriteTimeout: 100 * time.Millisecond})
	fmt.Fprint(dial(t, addr), "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	select {
	case <-wrote:
	case <-time.After(10 * time.Second):
		t.Error("the server writes to a client that does not read")
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestStreamsOutliveTheWriteTimeout also shows that they end when the server stops, whether the
// handler took the connection over or not.
func TestStreamsOutliveTheWriteTimeout(t *testing.T) {
	const timeout = 50 * time.Millisecond
	ended := make(chan struct{}, 2)
	h := Mount([]route.Route{
		{Path: "/stream", Streaming: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() { ended <- struct{}{} }()
			tick := time.NewTicker(timeout)
			defer tick.Stop()
			for {
				select {
				case <-r.Context().Done():
					return
				case <-tick.C:
					fmt.Fprintln(w, "line")
					w.(http.Flusher).Flush()
				}
			}
		})},
		{Path: "/hijack", Streaming: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() { ended <- struct{}{} }()
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			fmt.Fprint(c, "taken\n")
			<-r.Context().Done()
		})},
	}, Options{})
	addr, stop := start(t, h, ServeOptions{WriteTimeout: timeout, ReadTimeout: timeout})

	c := dial(t, addr)
	fmt.Fprint(c, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
	br := bufio.NewReader(c)
	for lines := 0; lines < 4; { // four ticks are longer than the timeout
		l, err := br.ReadString('\n')
		if err != nil {
			t.Fatalf("stream ended: %v", err)
		}
		if strings.HasPrefix(l, "line") {
			lines++
		}
	}
	c2 := dial(t, addr)
	fmt.Fprint(c2, "GET /hijack HTTP/1.1\r\nHost: x\r\n\r\n")
	if l, err := bufio.NewReader(c2).ReadString('\n'); err != nil || l != "taken\n" {
		t.Fatalf("got %q, %v", l, err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	for range 2 {
		select {
		case <-ended:
		default:
			t.Error("Serve returned before a handler did")
		}
	}
}

func TestShutdownLetsRequestsFinish(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		select {
		case <-release:
			fmt.Fprint(w, "done")
		case <-r.Context().Done():
		}
	})
	addr, stop := start(t, h, ServeOptions{})
	got := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + addr)
		if err != nil {
			got <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		got <- string(b)
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	close(release)
	if body := <-got; body != "done" {
		t.Errorf("answer = %q, want done", body)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestShutdownIsBounded(t *testing.T) {
	entered := make(chan struct{})
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	})
	addr, stop := start(t, h, ServeOptions{ShutdownTimeout: 20 * time.Millisecond})
	fmt.Fprint(dial(t, addr), "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-entered
	if err := stop(); err == nil || !strings.Contains(err.Error(), "cut off after 20ms") {
		t.Errorf("Serve = %v, want that requests were cut off", err)
	}
}

func TestServeReportsTheListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if err := Serve(t.Context(), l, http.NotFoundHandler(), ServeOptions{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve = %v, want %v", err, net.ErrClosed)
	}
}
