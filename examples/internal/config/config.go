// Package config reads the configuration of the example programs: Loki's YAML file and Loki's
// command-line flags, so that what people have written for Loki can be used as it is.
//
// Each setting that means something here is one line in settings.go, with its YAML key, its flag and
// its default. All other keys and flags of Loki are known by name: they are accepted, and listed in one
// warning, because a file that worked there should work here. Names that Loki does not know are
// errors, because they are mistakes. Flags win over the file, the file over the defaults.
//
// The library knows nothing of this package: an embedding program fills in loki.Config.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"example.com/loki/limits"
)

// Config is what a program needs to know to run. Make one with Load.
type Config struct {
	// What to do.
	Target      []string // components to run; "all" is every one of them
	Help        bool     // print help and exit
	Version     bool     // print the version and exit
	Health      bool     // ask the server at HealthURL whether it is ready, and exit
	HealthURL   string   //
	ListTargets bool     // print the targets and exit
	Verify      bool     // check the configuration and exit
	Print       bool     // print the configuration in effect to stderr, then run

	// Where things are.
	Dir      string // of the write-ahead log, the catalog and everything else
	StoreDir string // of the segments; empty: in Dir
	WALDir   string // of the write-ahead log; empty: in Dir

	AuthEnabled bool
	Pprof       bool   // serve profiles of the process
	LogLevel    string // debug, info, warn or error
	LogFormat   string // logfmt or json
	Server      Server
	Limits      limits.Limits
	// RuntimeFile has the limits of single tenants and is read each RuntimePeriod; see Overrides.
	RuntimeFile   string
	RuntimePeriod time.Duration
	Ingester      Ingester
	Compactor     Compactor
	Ruler         Ruler
	Reading       Reading
	Writing       Writing
	Tuning        Tuning
	Cluster       Cluster
	ClientTLS     TLS
	Compression   string // of what is sent to other processes
	S3            S3

	// Ignored are the keys and flags that were set and mean nothing here.
	Ignored []string
	// File is the configuration file that was read, empty if there is none.
	File string

	files       string // of -config.file
	expandEnv   bool
	objectStore string // filesystem or s3, if the schema says so
}

// Server says how to listen.
type Server struct {
	HTTPAddress       string
	HTTPPort          int
	HTTPPrefix        string
	ReadTimeout       time.Duration
	ReadHeaderTimeout time.Duration
	WriteTimeout      time.Duration // 0: the query timeout and 30s
	IdleTimeout       time.Duration
	ShutdownTimeout   time.Duration
	CertFile, KeyFile string // TLS; both or neither
	ClientAuth        string // of TLS: which certificates of clients are asked for
	ClientCAFile      string // of TLS: who signs these
	GRPCAddress       string // listened on if other processes are configured
	GRPCPort          int
	GRPCCertFile      string // TLS; both or neither
	GRPCKeyFile       string
	GRPCClientAuth    string
	GRPCClientCAFile  string
	GRPCMaxReceive    int // bytes of a message; 0: the default
	GRPCMaxSend       int
}

// Ingester says how new lines are kept. Loki counts chunks, of which every stream has one; here all
// streams of a tenant share a part, which becomes a segment. See Config.Engine for what that makes of
// these settings.
type Ingester struct {
	WALEnabled      bool
	WALCompression  string // s2, zstd or none
	FlushOnShutdown bool
	ChunkTargetSize int           // bytes
	MaxChunkAge     time.Duration //
	ChunkIdlePeriod time.Duration //
	HandoverWindow  time.Duration // 0: the engine's default, or twice the query timeout
}

// Compactor says how stored lines are looked after. Zero means the engine's default.
type Compactor struct {
	Interval         time.Duration
	MinAge           time.Duration // 0: the ingesters' handover window and five minutes
	DeleteDelay      time.Duration
	CancelPeriod     time.Duration
	PollInterval     time.Duration // of delete requests, in processes without a compactor
	RetentionEnabled bool          // by age
	DryRun           bool
	MaxBytes         int64
	MaxDiskShare     float64
	MaxSegment       int64
	Rate             int     // bytes a second
	MinShare         float64 // of a processor, while others wait for one
	VerifyInterval   time.Duration
}

// Reading says how queries run.
type Reading struct {
	MaxConcurrent  int           // tasks at once; 0: two a processor
	LogSlowQueries time.Duration // 0: the engine's default
	// TailMaxDuration is how long a tail lasts at most; 0: until one side ends it.
	TailMaxDuration time.Duration
	MaxRetries      int  // of a task whose querier went away
	MultiTenant     bool // queries may name several tenants

	Results, InstantResults Cache // of range and log queries, of instant metric queries

	// Of indexes: labels and their values, streams, statistics, volumes. The last two are computed from the same
	// answers, which are kept as VolumeResults says, or, if that is not enabled, StatsResults.
	LabelResults, SeriesResults, StatsResults, VolumeResults Cache

	IndexDir string // copies of indexes where segments are in an object store; empty: index gateways choose it
}

// Writing says what a push may be.
type Writing struct {
	MaxBodySize         int // bytes as they come
	MaxDecompressedSize int // bytes after decompression
}

// defaultChunkTarget is Loki's: 1.5 MiB.
const defaultChunkTarget = 3 << 19

// Default returns the configuration of a program without arguments.
func Default() *Config {
	return &Config{
		Target:    []string{"all"},
		Dir:       "./loki-data",
		LogLevel:  "info",
		LogFormat: "logfmt",
		HealthURL: "http://127.0.0.1:3100/ready",
		Limits:    limits.Default(),

		Pprof:         true,
		RuntimePeriod: 10 * time.Second,
		Server: Server{
			HTTPAddress:       "127.0.0.1",
			HTTPPort:          3100,
			GRPCPort:          9095,
			ReadTimeout:       30 * time.Second,
			ReadHeaderTimeout: 10 * time.Second,
			IdleTimeout:       2 * time.Minute,
			ShutdownTimeout:   30 * time.Second,
		},
		Ingester: Ingester{
			WALEnabled:      true,
			WALCompression:  "s2",
			ChunkTargetSize: defaultChunkTarget,
			MaxChunkAge:     2 * time.Hour,
			ChunkIdlePeriod: 30 * time.Minute,
		},
		Cluster: Cluster{IndexGatewayMode: "simple"},
		Ruler:   Ruler{EnableAPI: true, AddTenant: true},
		Reading: Reading{
			MaxRetries: 5, TailMaxDuration: time.Hour, Results: defaultCache("frontend."), InstantResults: defaultCache("frontend.instant-metric-results-cache."),
			LabelResults: indexCache("frontend.label-results-cache."), SeriesResults: indexCache("frontend.series-results-cache."),
			StatsResults: indexCache("frontend.index-stats-results-cache."), VolumeResults: indexCache("frontend.volume-results-cache."),
		},
		// Loki takes 5 GB after decompression, which can be more than the machine has.
		Writing: Writing{MaxBodySize: 100 << 20, MaxDecompressedSize: 256 << 20},
	}
}

// ErrUsage marks errors in flags or in the file, as opposed to files that cannot be read.
var ErrUsage = errors.New("bad configuration")

// Load reads flags, as in os.Args[1:], and the file that they name. getenv looks up variables for
// -config.expand-env. An error names every mistake that was found, with its line, and for unknown
// names what was probably meant.
func Load(args []string, getenv func(string) (string, bool)) (*Config, error) {
	c := Default()
	l := newLoader(c)
	flags, err := l.parseFlags(args)
	if err != nil {
		return nil, fmt.Errorf("%w:\n%w", ErrUsage, err)
	}
	if c.Help || c.Version || c.ListTargets || c.Health {
		return c, nil
	}
	if c.files != "" {
		if err := l.readFile(getenv); err != nil {
			return nil, err
		}
	}
	if err := l.apply(flags); err != nil {
		return nil, fmt.Errorf("%w:\n%w", ErrUsage, err)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%w:\n%w", ErrUsage, err)
	}
	if !c.Compactor.RetentionEnabled { // whoever sets these expects that old lines go
		if c.Limits.RetentionPeriod > 0 {
			c.Ignored = append(c.Ignored, "limits_config.retention_period (compactor.retention_enabled is false)")
		}
		if len(c.Limits.RetentionStream) > 0 {
			c.Ignored = append(c.Ignored, "limits_config.retention_stream (compactor.retention_enabled is false)")
		}
	}
	slices.Sort(c.Ignored)
	c.Ignored = slices.Compact(c.Ignored)
	return c, nil
}

// readFile applies the first configuration file that exists.
func (l *loader) readFile(getenv func(string) (string, bool)) error {
	for name := range strings.SplitSeq(l.c.files, ",") {
		name = strings.TrimSpace(name)
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read configuration: %w", err)
		}
		l.c.File = name
		// Loki demands tenants and listens on all addresses unless it is told otherwise, so its files
		// may count on that.
		l.c.AuthEnabled = true
		l.c.Server.HTTPAddress = ""
		if l.c.expandEnv {
			expanded, err := expand(string(text), getenv)
			if err != nil {
				return fmt.Errorf("%w: %s: %w", ErrUsage, name, err)
			}
			text = []byte(expanded)
		}
		if err := l.applyYAML(text); err != nil {
			if !l.c.expandEnv && strings.Contains(string(text), "${") {
				err = fmt.Errorf("%w\nthe file names variables, as in ${NAME}: they count with -config.expand-env only", err)
			}
			return fmt.Errorf("%w: %s:\n%w", ErrUsage, name, err)
		}
		return nil
	}
	return fmt.Errorf("read configuration: no such file: %s", l.c.files)
}

// check refuses values that parse but make no sense, all of them at once.
func (c *Config) check() error {
	var errs []error
	errs = append(errs, c.checkCluster(), c.checkRuler())
	if len(c.Target) == 0 {
		errs = append(errs, errors.New("target is empty; use all"))
	}
	for _, p := range []struct {
		name string
		port int
	}{{"server.http_listen_port", c.Server.HTTPPort}, {"server.grpc_listen_port", c.Server.GRPCPort}} {
		if p.port < 0 || p.port > 65535 {
			errs = append(errs, fmt.Errorf("%s is %d; ports are 0 to 65535", p.name, p.port))
		}
	}
	if c.Dir == "" {
		errs = append(errs, errors.New("common.path_prefix is empty; name a folder"))
	}
	if p := c.Server.HTTPPrefix; p != "" && !strings.HasPrefix(p, "/") {
		errs = append(errs, fmt.Errorf("server.http_path_prefix is %q; it must begin with /", p))
	}
	sv := &c.Server
	_, httpTLS := checkServerTLS("server.http_tls_config", sv.CertFile, sv.KeyFile, sv.ClientCAFile, sv.ClientAuth)
	_, grpcTLS := checkServerTLS("server.grpc_tls_config", sv.GRPCCertFile, sv.GRPCKeyFile, sv.GRPCClientCAFile, sv.GRPCClientAuth)
	errs = append(errs, httpTLS, grpcTLS)
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel) {
		errs = append(errs, fmt.Errorf("log level %q does not exist; use debug, info, warn or error", c.LogLevel))
	}
	if c.LogFormat != "logfmt" && c.LogFormat != "json" {
		errs = append(errs, fmt.Errorf("log format %q does not exist; use logfmt or json", c.LogFormat))
	}
	if st := c.Limits.IngestionRateStrategy; st != limits.GlobalRate && st != limits.LocalRate {
		errs = append(errs, fmt.Errorf("ingestion_rate_strategy %q does not exist; use global or local", st))
	}
	return errors.Join(errs...)
}
