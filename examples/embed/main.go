// Command embed is a small web service that keeps its own logs: it logs through log/slog into an engine
// in the same process, and shows its last errors on a page.
//
//	go run ./examples/embed
//	curl http://127.0.0.1:8080/divide?a=1\&b=0
//	curl http://127.0.0.1:8080/errors
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"example.com/loki"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "where to listen")
	dir := flag.String("dir", "embed-data", "folder of the logs")
	flag.Parse()
	ctx, release := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer release()
	if err := run(ctx, *addr, *dir, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, addr, dir string, stdout io.Writer) error {
	eng, err := loki.Open(loki.Config{Dir: dir})
	if err != nil {
		return err
	}
	defer eng.Close() // writes what is still buffered

	s := &service{eng: eng, log: slog.New(eng.SlogHandler("app", "calculator"))}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: s.routes(), ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_ = srv.Shutdown(bounded) // the process ends either way
	})
	defer stop()
	fmt.Fprintf(stdout, "Listening on http://%s, try /divide?a=1&b=0 and then /errors.\n", l.Addr())
	if err := srv.Serve(l); ctx.Err() == nil {
		return err
	}
	return nil
}

type service struct {
	eng *loki.Engine
	log *slog.Logger
}

func (s *service) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /divide", s.divide)
	mux.HandleFunc("GET /errors", s.lastErrors)
	// The whole of Loki's API over these logs, for Grafana: http://127.0.0.1:8080/logs
	mux.Handle("/logs/", http.StripPrefix("/logs", s.eng.Handler()))
	return mux
}

func (s *service) divide(w http.ResponseWriter, r *http.Request) {
	a, errA := strconv.Atoi(r.FormValue("a"))
	b, errB := strconv.Atoi(r.FormValue("b"))
	if errA != nil || errB != nil || b == 0 {
		s.log.Error("cannot divide", "a", r.FormValue("a"), "b", r.FormValue("b"), "from", r.RemoteAddr)
		http.Error(w, "cannot divide", http.StatusBadRequest)
		return
	}
	s.log.Info("divided", "a", a, "b", b)
	fmt.Fprintln(w, a/b)
}

// lastErrors shows the newest ten errors.
func (s *service) lastErrors(w http.ResponseWriter, r *http.Request) {
	query := `{app="calculator"} | level="error"`
	for e, err := range s.eng.Query(r.Context(), query, loki.Last(24*time.Hour), loki.Limit(10)) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, "%s %s a=%q b=%q\n", e.Time.Format(time.RFC3339), e.Text, e.Metadata.Get("a"), e.Metadata.Get("b"))
	}
}
