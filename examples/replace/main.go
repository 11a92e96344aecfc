// Command replace shows how a host puts its own implementation in the place of a component: here a
// distributor that hides card numbers before anything is stored, in front of the usual one. All that
// pushes go through it: Go calls, slog handlers and HTTP.
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
	"syscall"
	"time"

	"example.com/loki"
	"example.com/loki/distributor"
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

// redactor is a distributor.Service around another one.
type redactor struct {
	distributor.Service
	card *regexp.Regexp
}

// Push implements distributor.Service. It may change the request.
func (r *redactor) Push(ctx context.Context, req *distributor.PushRequest) error {
	for _, s := range req.Streams {
		for i := range s.Entries {
			s.Entries[i].Line = r.card.ReplaceAll(s.Entries[i].Line, []byte("(card)"))
		}
	}
	return r.Service.Push(ctx, req)
}

func build(dir string) (*loki.Engine, error) {
	redact := func(_ *loki.Collaborators, usual func() (distributor.Service, error)) (distributor.Service, error) {
		next, err := usual()
		if err != nil {
			return nil, err
		}
		return &redactor{Service: next, card: regexp.MustCompile(`\b\d{4}([ -]?)\d{4}([ -]?)\d{4}([ -]?)\d{4}\b`)}, nil
	}
	return loki.NewTopology(loki.Config{Dir: dir}).With(loki.ReplaceDistributor(redact)).Build()
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
