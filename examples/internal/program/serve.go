package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"example.com/loki"
	"example.com/loki/examples/internal/config"
	"example.com/loki/indexgw"
	"example.com/loki/internal/server"
	"example.com/loki/store/s3"
)

// serve runs an engine and its servers until ctx is done.
func (p Program) serve(ctx context.Context, cfg *config.Config, stdout, stderr io.Writer) (err error) {
	logger, level := cfg.Logger(stderr)
	cfg.WarnIgnored(ctx, logger)
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	l, err := listen(ctx, cfg)
	if err != nil {
		return err
	}
	defer l.Close() // the server closes it too; this is for errors before
	if err := makeFolder(cfg.Dir); err != nil {
		return err
	}
	overrides, err := cfg.Overrides()
	if err != nil {
		return err
	}
	if err := overrides.Register(reg); err != nil {
		return err
	}
	engCfg, err := cfg.Engine(overrides.Limits, logger, level)
	if err != nil {
		return err
	}
	engCfg.Registerer, engCfg.Gatherer = reg, reg
	if p.Ruler != nil {
		if engCfg.Ruler, err = p.Ruler(cfg); err != nil {
			return err
		}
	}
	caches, err := cfg.Caches(logger, reg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, caches.Close()) }()
	engCfg.Frontend.Cache, engCfg.Frontend.InstantCache = caches.Results, caches.Instant
	engCfg.IndexGateway = indexgw.Config{Labels: caches.Labels, Series: caches.Series, Volumes: caches.Volumes}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	engCfg.Terminate = stop
	if cfg.UsesS3() {
		bucket, err := openBucket(ctx, cfg, func(c s3.Config) (*s3.Bucket, error) { return s3.NewBucket(c, reg) })
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, bucket.Close()) }()
		engCfg.Bucket = bucket
	}
	inside, err := listenGRPC(ctx, cfg, logger)
	if err != nil {
		return err
	}
	defer inside.close()
	var eng engine
	if p.Build != nil {
		eng, err = p.component(&Process{
			Config: cfg, Settings: engCfg, Members: inside.membership(), Limits: engCfg.Limits, Log: logger, Metrics: reg, Terminate: stop,
		})
	} else {
		eng, err = inside.topology(engCfg, reg)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, eng.Close()) }()

	// The servers run while the engine starts, so that /ready can tell how far it is.
	var beside sync.WaitGroup
	beside.Go(func() { overrides.Run(ctx, logger) })
	served := make(chan error, 1)
	go func() {
		defer stop() // a server that fails ends the program
		served <- server.Serve(ctx, l, handler(eng, cfg.Server.HTTPPrefix), serveOptions(cfg))
	}()
	defer func() {
		stop()
		err = errors.Join(err, <-served)
		beside.Wait()
	}()
	if err := inside.serve(eng, stop); err != nil {
		return err
	}
	if err := eng.Start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // told to stop before it was ready
		}
		return err
	}
	inside.ready()
	greet(stdout, cfg, l.Addr())
	if err := releaseStartPages(); err != nil {
		logger.Debug("the memory that starting took is kept", "err", err)
	}
	if ownCollector() {
		beside.Go(func() { boundGarbage(ctx, collectorCheck) })
	}
	releaseWhenIdle(ctx, idleCheck, releaseMemory) // until ctx is done
	logger.Info("stopping; a second signal ends the process at once", "requests_may_take", cfg.Server.ShutdownTimeout)
	return nil
}

// engine is what a program runs: a *loki.Engine or a *node.Node.
type engine interface {
	Handler() http.Handler
	NewServer(loki.GRPC) (*loki.Server, error)
	Start(context.Context) error
	Close() error
}

// inside is the server that other processes use.
type inside struct {
	cfg    *config.Config
	grpc   loki.GRPC
	l      net.Listener // nil: no process but this one
	server *loki.Server
	served chan error
	log    *slog.Logger
}

// listenGRPC listens if there are other processes.
func listenGRPC(ctx context.Context, cfg *config.Config, logger *slog.Logger) (*inside, error) {
	s := &inside{cfg: cfg, log: logger}
	if cfg.Alone() {
		return s, nil
	}
	var err error
	if s.grpc, err = cfg.GRPCServer(); err != nil {
		return nil, err
	}
	s.l, err = listenOn(ctx, cfg.Server.GRPCAddress, cfg.Server.GRPCPort, "-server.grpc-listen-port")
	return s, err
}

// serve serves the engine; a server that fails ends the program.
func (s *inside) serve(eng engine, stop func()) error {
	if s.l == nil {
		return nil
	}
	var err error
	if s.server, err = eng.NewServer(s.grpc); err != nil {
		return err
	}
	s.served = make(chan error, 1)
	go func() {
		defer stop()
		s.served <- s.server.Serve(s.l)
	}()
	return nil
}

// ready tells the health service.
func (s *inside) ready() {
	if s.server != nil {
		s.server.SetServing("", true)
	}
}

// close ends the server. By now the engine refuses calls, so those under way are few.
func (s *inside) close() {
	if s.l == nil {
		return
	}
	if s.server == nil {
		_ = s.l.Close() // it never served
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Server.ShutdownTimeout)
	defer cancel()
	s.server.Shutdown(ctx)
	if err := <-s.served; err != nil {
		s.log.Error("gRPC server failed", "err", err)
	}
}

// greet says where the server is and, where it answers queries and takes lines, how to try it.
func greet(w io.Writer, cfg *config.Config, addr net.Addr) {
	base := baseURL(cfg, addr)
	if target := strings.Join(cfg.Target, ","); target != "all" {
		fmt.Fprintf(w, "Listening on %s as %s\n", base, target)
		return
	}
	header := ""
	if cfg.AuthEnabled {
		header = " -H 'X-Scope-OrgID: me'"
	}
	place := "under " + cfg.Dir
	if cfg.UsesS3() {
		place += " and in bucket " + cfg.Bucket().Bucket
	}
	fmt.Fprintf(w, `Listening on %s, storing %s. Push a line and find it again:

  curl%s %s/loki/api/v1/push -H 'Content-Type: application/json' -d '{"streams":[{"stream":{"app":"try"},"values":[["'$(date +%%s)000000000'","hello"]]}]}'
  curl%s -G %s/loki/api/v1/query_range --data-urlencode 'query={app="try"}'

`, base, place, header, base, header, base)
}
