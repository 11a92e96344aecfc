// Command monolithic is a log server in one process. Without arguments it stores under ./loki-data and
// listens on 127.0.0.1:3100; with -config.file it takes Loki's configuration. Grafana, logcli and
// whatever else speaks to Loki can be pointed at it.
//
// It exits with 0 after it was told to stop, 1 when something failed, 2 when it was called wrongly,
// and 130 after a second signal, which ends it at once.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"example.com/loki"
	"example.com/loki/examples/internal/config"
	"example.com/loki/internal/server"
)

const (
	exitFailed = 1
	exitUsage  = 2
	exitKilled = 130 // by a second signal
)

func main() {
	ctx, stop := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		stop() // in good order
		<-signals
		os.Exit(exitKilled)
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program: it returns its exit code when ctx is done or something failed.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cfg, err := config.Load(args, os.LookupEnv)
	switch {
	case errors.Is(err, config.ErrUsage):
		fmt.Fprintf(stderr, "%v\nTry -help.\n", err)
		return exitUsage
	case err != nil:
		fmt.Fprintln(stderr, err)
		return exitFailed
	case cfg.Help:
		fmt.Fprint(stdout, "A log server that speaks Loki's API. Usage: monolithic [flags]\n"+
			"Without flags it listens on 127.0.0.1:3100 and stores under ./loki-data.\n")
		config.WriteHelp(stdout)
		return 0
	case cfg.Version:
		fmt.Fprintf(stdout, "loki %s (%s, %s/%s)\n", server.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return 0
	case cfg.ListTargets:
		fmt.Fprintln(stdout, "all")
		return 0
	case cfg.Health:
		return health(ctx, cfg.HealthURL, stdout)
	case cfg.Verify:
		fmt.Fprintln(stdout, "The configuration is valid.")
		if len(cfg.Ignored) > 0 {
			fmt.Fprintf(stdout, "Without effect here: %s\n", strings.Join(cfg.Ignored, ", "))
		}
		return 0
	}
	if cfg.Print {
		if err := cfg.WriteYAML(stderr); err != nil {
			fmt.Fprintln(stderr, err)
			return exitFailed
		}
	}
	if err := serve(ctx, cfg, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, err)
		return exitFailed
	}
	return 0
}

// serve runs an engine and a server for it until ctx is done.
func serve(ctx context.Context, cfg *config.Config, stdout, stderr io.Writer) (err error) {
	logger, level := cfg.Logger(stderr)
	cfg.WarnIgnored(ctx, logger)

	l, err := listen(ctx, cfg.Server)
	if err != nil {
		return err
	}
	defer l.Close() // the server closes it too; this is for errors before
	overrides, err := cfg.Overrides()
	if err != nil {
		return err
	}
	engCfg, err := cfg.Engine(overrides.Limits, logger, level)
	if err != nil {
		return err
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	engCfg.Registerer, engCfg.Gatherer = reg, reg
	eng, err := loki.NewTopology(engCfg).Build()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, eng.Close()) }()

	// The server runs while the engine starts, so that /ready can tell how far it is.
	ctx, stop := context.WithCancel(ctx)
	var reloading sync.WaitGroup
	reloading.Go(func() { overrides.Run(ctx, logger) })
	served := make(chan error, 1)
	go func() {
		defer stop() // a server that fails ends the program
		served <- server.Serve(ctx, l, handler(eng, cfg.Server.HTTPPrefix), serveOptions(cfg))
	}()
	defer func() {
		stop()
		err = errors.Join(err, <-served)
		reloading.Wait()
	}()

	if err := eng.Start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // told to stop before it was ready
		}
		return err
	}
	greet(stdout, cfg, l.Addr())
	<-ctx.Done()
	logger.Info("stopping; a second signal ends the process at once", "requests_may_take", cfg.Server.ShutdownTimeout)
	return nil
}

func handler(eng *loki.Engine, prefix string) http.Handler {
	prefix = strings.TrimRight(prefix, "/")
	if prefix == "" {
		return eng.Handler()
	}
	return http.StripPrefix(prefix, eng.Handler())
}

func serveOptions(cfg *config.Config) server.ServeOptions {
	write := cfg.Server.WriteTimeout
	if write == 0 && cfg.Limits.QueryTimeout > 0 {
		write = cfg.Limits.QueryTimeout + 30*time.Second
	}
	return server.ServeOptions{
		ReadHeaderTimeout: cfg.Server.ReadHeaderTimeout,
		ReadTimeout:       cfg.Server.ReadTimeout,
		WriteTimeout:      write,
		IdleTimeout:       cfg.Server.IdleTimeout,
		ShutdownTimeout:   cfg.Server.ShutdownTimeout,
	}
}

func listen(ctx context.Context, cfg config.Server) (net.Listener, error) {
	addr := net.JoinHostPort(cfg.HTTPAddress, strconv.Itoa(cfg.HTTPPort))
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen on %s: something listens there already; stop it or use another port: -server.http-listen-port=0 takes any free one", addr)
	case err != nil:
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	case cfg.CertFile == "":
		return l, nil
	}
	cert, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("server.http_tls_config: %w", err), l.Close())
	}
	return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}), nil
}

// greet says where the server is and how to try it.
func greet(w io.Writer, cfg *config.Config, addr net.Addr) {
	base := baseURL(cfg, addr)
	header := ""
	if cfg.AuthEnabled {
		header = " -H 'X-Scope-OrgID: me'"
	}
	fmt.Fprintf(w, `Listening on %s, storing under %s. Push a line and find it again:

  curl%s %s/loki/api/v1/push -H 'Content-Type: application/json' -d '{"streams":[{"stream":{"app":"try"},"values":[["'$(date +%%s)000000000'","hello"]]}]}'
  curl%s -G %s/loki/api/v1/query_range --data-urlencode 'query={app="try"}'

`, base, cfg.Dir, header, base, header, base)
}

func baseURL(cfg *config.Config, addr net.Addr) string {
	scheme := "http://"
	if cfg.Server.CertFile != "" {
		scheme = "https://"
	}
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return scheme + addr.String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + net.JoinHostPort(host, port) + strings.TrimRight(cfg.Server.HTTPPrefix, "/")
}

// health asks a running server whether it is ready.
func health(ctx context.Context, url string, stdout io.Writer) int {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		fmt.Fprintln(stdout, err)
		return exitUsage
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		fmt.Fprintln(stdout, err)
		return exitFailed
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // what came is worth printing
	fmt.Fprintln(stdout, strings.TrimSpace(string(body)))
	if resp.StatusCode != http.StatusOK {
		return exitFailed
	}
	return 0
}
