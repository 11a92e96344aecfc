// Package program is what the example servers share: flags, signals, listeners, and the order in which
// all of that starts and stops. What differs is which components run; see Program.
package program

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
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"example.com/loki"
	"example.com/loki/examples/internal/config"
	"example.com/loki/internal/server"
)

const (
	exitFailed = 1
	exitUsage  = 2
	exitKilled = 130 // by a second signal
)

// Program is a server.
type Program struct {
	Name  string // of the command
	About string // one line for -help
	// Targets are those that -target may name, and what runs without it. Empty means that all may be named
	// and all run.
	Targets []string
	// Ruler makes the ruler; nil: it has none. See package rules.
	Ruler func(*config.Config) (loki.RulerBuilder, error)
	// Build, unless nil, puts together what runs: Targets names that one component. Without it an engine runs.
	Build func(*Process) error
	// Segments tells that Build needs the bucket of the segments.
	Segments bool
}

// Main runs the program and exits: with 0 after it was told to stop, 1 when something failed, 2 when it
// was called wrongly, and 130 after a second signal, which ends it at once.
func (p Program) Main() {
	if ownCollector() {
		debug.SetGCPercent(mostGarbage)
	}
	ctx, stop := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		stop() // in good order
		<-signals
		os.Exit(exitKilled)
	}()
	os.Exit(p.run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program: it returns its exit code when ctx is done or something failed.
func (p Program) run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cfg, err := config.Load(p.targeted(args), os.LookupEnv)
	if err == nil {
		err = p.check(cfg)
	}
	switch {
	case errors.Is(err, config.ErrUsage):
		fmt.Fprintf(stderr, "%v\nTry -help.\n", err)
		return exitUsage
	case err != nil:
		fmt.Fprintln(stderr, err)
		return exitFailed
	case cfg.Help:
		fmt.Fprintf(stdout, "%s Usage: %s [flags]\n"+
			"Without flags it listens on 127.0.0.1:3100 and stores under ./loki-data.\n", p.About, p.Name)
		config.WriteHelp(stdout)
		return 0
	case cfg.Version:
		fmt.Fprintf(stdout, "loki %s (%s, %s/%s)\n", server.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return 0
	case cfg.ListTargets:
		fmt.Fprintln(stdout, strings.Join(p.names(), "\n"))
		return 0
	case cfg.Health:
		return health(ctx, cfg.HealthURL, stdout)
	}
	if cfg.Print {
		if err := cfg.WriteYAML(stderr); err != nil {
			fmt.Fprintln(stderr, err)
			return exitFailed
		}
	}
	if cfg.Verify {
		if err := cfg.CheckFiles(); err != nil {
			fmt.Fprintln(stderr, err)
			return exitFailed
		}
		if p.Ruler != nil {
			if _, err := p.Ruler(cfg); err != nil {
				fmt.Fprintln(stderr, err)
				return exitFailed
			}
		}
		fmt.Fprintln(stdout, "The configuration is valid.")
		if len(cfg.Ignored) > 0 {
			fmt.Fprintf(stdout, "Without effect here: %s\n", strings.Join(cfg.Ignored, ", "))
		}
		return 0
	}
	if err := p.serve(ctx, cfg, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, err)
		return exitFailed
	}
	return 0
}

func handler(eng engine, prefix string) http.Handler {
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

// listen returns the listener of the HTTP server.
func listen(ctx context.Context, cfg *config.Config) (net.Listener, error) {
	certs, err := cfg.HTTPTLS()
	if err != nil {
		return nil, err
	}
	l, err := listenOn(ctx, cfg.Server.HTTPAddress, cfg.Server.HTTPPort, "-server.http-listen-port")
	if err != nil || certs == nil {
		return l, err
	}
	return tls.NewListener(l, certs), nil
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

// names are what -target can name.
func (p Program) names() []string {
	if len(p.Targets) > 0 {
		return p.Targets
	}
	return loki.Targets()
}

// targeted returns the arguments with the program's own target in front, which others win over.
func (p Program) targeted(args []string) []string {
	if len(p.Targets) != 1 {
		return args
	}
	return append([]string{"-target=" + p.Targets[0]}, args...)
}

// check refuses targets of other programs.
func (p Program) check(cfg *config.Config) error {
	if cfg.Help || cfg.Version || cfg.ListTargets || cfg.Health {
		return nil // nothing will run
	}
	for _, t := range cfg.Target {
		if !slices.Contains(p.names(), t) {
			return fmt.Errorf("%w: target %q is not one of %s; -target can be %s", config.ErrUsage, t, p.Name, strings.Join(p.names(), ", "))
		}
	}
	return nil
}
