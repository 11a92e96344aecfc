package loki

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/grafana/dskit/tenant"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/thanos-io/objstore"

	"example.com/loki/compactor"
	"example.com/loki/distributor"
	"example.com/loki/frontend"
	"example.com/loki/indexgw"
	"example.com/loki/ingester"
	"example.com/loki/ingester/replicas"
	"example.com/loki/limits"
	"example.com/loki/querier"
	"example.com/loki/scheduler"
	"example.com/loki/store"
)

// Config says where an engine keeps its data and how it behaves. The zero value of every field but Dir
// is a good default.
type Config struct {
	// Dir is the folder of the engine: write-ahead log, catalog and, without a Bucket, the segments.
	// It is created if it is missing. Required; one engine at a time can use it.
	Dir string

	// Bucket is where segments are stored. nil means files under Dir/store. The engine doesn't
	// close a bucket that it was given.
	Bucket objstore.Bucket

	// Tenant is whose the calls are that don't name a tenant. Empty means "fake", the name that Loki
	// uses when it runs for a single tenant.
	Tenant string

	// AuthEnabled makes the HTTP handler demand the tenant in the header X-Scope-OrgID. Without it
	// the header is ignored and all requests belong to Tenant. It has no effect on Go calls.
	AuthEnabled bool

	// Limits says what each tenant may do. nil means limits.Default for everyone, except that the
	// rate of pushes, the number of streams and the age of lines are not limited: a host pushes its own
	// lines and need not be protected from itself. Servers should pass limits of their own.
	Limits limits.Provider

	// Logger gets what an operator should know. nil means silence. It must not write back into the
	// same engine.
	Logger *slog.Logger

	// LogLevel, if set, is what the HTTP endpoint /log_level shows and changes.
	LogLevel *slog.LevelVar

	// Registerer gets the engine's metrics as one collector. nil means that they are only served
	// under /metrics. Two engines need two Names, or registerers that add different labels.
	Registerer prometheus.Registerer

	// Gatherer is what /metrics serves. nil means the metrics of this engine alone.
	Gatherer prometheus.Gatherer

	// Name tells engines of one process apart; it becomes the label "engine" of the metrics unless
	// it is empty.
	Name string

	// Pprof adds /debug/pprof and /debug/fgprof to the HTTP handler.
	Pprof bool

	// Effective and Defaults return what the HTTP endpoint /config shows: the configuration in effect
	// and what it would be if nothing had been set. nil means this Config and its zero value.
	Effective, Defaults func() any

	// Now is the clock. nil means time.Now.
	Now func() time.Time

	// Terminate is called when a client of /ingester/shutdown wants the process to end, after it has been
	// answered; it must not block. nil means that the process goes on: an engine ends no host.
	Terminate func()

	// Ruler builds what evaluates rules. nil means that there is no ruler. Package ruler/engine has one; it is not
	// built in because it links much that most hosts don't want. See RulerBuilder.
	Ruler RulerBuilder
	// HideRules leaves the endpoints of rules and of their state out of the HTTP handler.
	HideRules bool

	// SlogBuffer is how many records handlers made with SlogHandler may hold until they are written;
	// further ones are dropped and counted. 0 means 8192.
	SlogBuffer int

	// Cluster says where the components are that don't run in this process. The zero value is for an
	// engine that runs them all.
	Cluster Cluster

	// Settings of the components. Fields that the engine decides (folders, clock) are filled in where
	// they are empty.
	Distributor   distributor.Config
	Ingester      ingester.Config
	Compactor     compactor.Config
	Deletes       compactor.ReaderConfig // of what reads delete requests where the compactor runs elsewhere
	Store         store.Config
	IndexGateway  indexgw.Config      // also of what answers in its place where none can be reached
	IndexGateways indexgw.PeersConfig // of what asks those of other processes
	Querier       querier.Config
	Replicas      replicas.Config      // of what stands for the ingesters of a ring
	Worker        querier.WorkerConfig // of queriers that fetch tasks from a scheduler
	Scheduler     scheduler.Config
	Frontend      frontend.Config
}

// DefaultTenant is whose lines are if nobody says otherwise.
const DefaultTenant = "fake"

// check returns a copy with defaults filled in, or every problem at once.
func (c Config) check() (Config, error) {
	c.Tenant = cmp.Or(c.Tenant, DefaultTenant)
	c.SlogBuffer = cmp.Or(c.SlogBuffer, 8192)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Limits == nil {
		c.Limits = limits.Fixed(EmbeddedLimits())
	}
	var errs []error
	if err := tenant.ValidTenantID(c.Tenant); err != nil {
		errs = append(errs, fmt.Errorf("loki: Config.Tenant: %w", err))
	}
	if c.SlogBuffer < 0 {
		errs = append(errs, fmt.Errorf("loki: Config.SlogBuffer is %d; it can't be negative", c.SlogBuffer))
	}
	errs = append(errs, c.Cluster.check())
	return c, errors.Join(errs...)
}

// EmbeddedLimits returns the limits of an engine without Config.Limits.
func EmbeddedLimits() limits.Limits {
	l := limits.Default()
	l.IngestionRateMB = 0
	l.PerStreamRateLimit = 0
	l.MaxGlobalStreamsPerUser = 0
	l.RejectOldSamples = false
	l.MaxQueryLength = 0
	return l
}
