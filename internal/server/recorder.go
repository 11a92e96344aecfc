package server

import (
	"bufio"
	"net"
	"net/http"
	"strconv"
)

// recorder is a ResponseWriter that remembers what was answered. http.ResponseController and the
// WebSocket library reach the writer below through Unwrap, Flush and Hijack.
type recorder struct {
	http.ResponseWriter

	code     int // 0 until something is sent
	written  int64
	hijacked bool
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) WriteHeader(code int) {
	// 1xx headers are not the answer yet, except that a switch of protocols is all there will be.
	if r.code == 0 && (code >= 200 || code == http.StatusSwitchingProtocols) {
		r.code = code
	}
	r.ResponseWriter.WriteHeader(code)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.code == 0 {
		r.code = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(p)
	r.written += int64(n)
	return n, err
}

// Flush implements http.Flusher.
func (r *recorder) Flush() {
	if http.NewResponseController(r.ResponseWriter).Flush() == nil && r.code == 0 {
		r.code = http.StatusOK
	}
}

// Hijack implements http.Hijacker.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(r.ResponseWriter).Hijack()
	if err == nil {
		r.hijacked = true
	}
	return c, rw, err
}

// status is the code that the client saw.
func (r *recorder) status() int {
	switch {
	case r.code != 0:
		return r.code
	case r.hijacked:
		return http.StatusSwitchingProtocols
	}
	return http.StatusOK
}

func (r *recorder) statusText() string { return strconv.Itoa(r.status()) }
