// Command replace shows how a host puts its own implementation in the place of a component: here an
// ingester that hides card numbers before anything is stored, in front of the usual one. Everything
// that is pushed goes through it: by Go calls, slog handlers and HTTP.
//
//	go run ./examples/replace
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"
	"time"

	"example.com/loki"
	"example.com/loki/ingester"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:3100", "where to listen")
	dir := flag.String("dir", "replace-data", "folder of the logs")
	flag.Parse()
	ctx, release := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer release()
	if err := run(ctx, *addr, *dir, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// redactor is an ingester.Service around another one.
type redactor struct {
	ingester.Service
	card *regexp.Regexp
}

// Push implements ingester.Service. The request belongs to the caller, so what changes is copied.
func (r *redactor) Push(ctx context.Context, req *ingester.PushRequest) error {
	clean := &ingester.PushRequest{Streams: slices.Clone(req.Streams)}
	for i := range clean.Streams {
		s := &clean.Streams[i]
		s.Entries = slices.Clone(s.Entries)
		for j := range s.Entries {
			s.Entries[j].Line = r.card.ReplaceAll(s.Entries[j].Line, []byte("(card)"))
		}
	}
	return r.Service.Push(ctx, clean)
}

func build(dir string) (*loki.Engine, error) {
	redact := func(_ *loki.Collaborators, usual func() (ingester.Service, error)) (ingester.Service, error) {
		next, err := usual()
		if err != nil {
			return nil, err
		}
		return &redactor{Service: next, card: regexp.MustCompile(`\b\d{4}([ -]?)\d{4}([ -]?)\d{4}([ -]?)\d{4}\b`)}, nil
	}
	return loki.NewTopology(loki.Config{Dir: dir}).With(loki.ReplaceIngester(redact)).Build()
}

// run serves until ctx is done.
func run(ctx context.Context, addr, dir string, stdout io.Writer) error {
	eng, err := build(dir)
	if err != nil {
		return err
	}
	defer eng.Close()
	if err := eng.Start(ctx); err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: eng.Handler(), ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_ = srv.Shutdown(bounded) // the process ends either way
	})
	defer stop()
	fmt.Fprintf(stdout, "Listening on http://%s; what you push has no card numbers when you find it.\n", l.Addr())
	if err := srv.Serve(l); ctx.Err() == nil {
		return err
	}
	return nil
}
