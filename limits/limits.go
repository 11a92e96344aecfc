// Package limits says what one tenant may do: how much it may push and how much a query may read.
//
// Names, meanings and defaults are those of Loki's limits_config, so that its documentation applies.
package limits

import "time"

// Limits of one tenant. The zero value limits nothing where zero is documented to mean that, and is
// not what a server should run with: start from Default.
type Limits struct {
	// Writing.
	IngestionRateMB                   float64       // MB a second of pushed lines and metadata; 0 means no limit
	IngestionRateStrategy             string        // GlobalRate: of all distributors together; LocalRate: of each
	IngestionBurstSizeMB              float64       // MB that may come at once
	PerStreamRateLimit                int           // bytes a second of one stream; 0 means no limit
	PerStreamRateLimitBurst           int           // bytes
	MaxLineSize                       int           // bytes; 0 means no limit
	MaxLineSizeTruncate               bool          // cut longer lines instead of refusing them
	MaxLabelNamesPerSeries            int           // labels of a stream
	MaxLabelNameLength                int           // bytes
	MaxLabelValueLength               int           // bytes
	RejectOldSamples                  bool          // refuse entries older than RejectOldSamplesMaxAge
	RejectOldSamplesMaxAge            time.Duration //
	CreationGracePeriod               time.Duration // how far in the future an entry may lie
	MaxGlobalStreamsPerUser           int           // active streams; 0 means no limit
	AllowStructuredMetadata           bool
	MaxStructuredMetadataSize         int // bytes of an entry's names and values
	MaxStructuredMetadataEntriesCount int
	DiscoverServiceName               []string // labels to take service_name from; empty: no discovery
	DiscoverLogLevels                 bool     // add detected_level to the structured metadata
	LogLevelFields                    []string // names that hold a level in labels, metadata, JSON and logfmt lines
	OTLP                              OTLP

	// Reading.
	MaxQueryLength             time.Duration // span of a query; 0 means no limit
	MaxQueryLookback           time.Duration // how far back a query may reach; 0 means no limit
	MaxQueryRange              time.Duration // the range of a range aggregation; 0 means no limit
	MaxQuerySeries             int           // series of a metric query's answer
	MaxEntriesLimitPerQuery    int           // largest "limit" of a log query
	MaxStreamsMatchersPerQuery int
	MaxQueryBytesRead          int64         // bytes of lines that a query may have to read; 0 means no limit
	MaxQueryMemory             int64         // bytes that a query may hold at once; 0 means no limit
	MaxQueryParallelism        int           // tasks of one query that run at once
	QueryTimeout               time.Duration // 0 means no limit
	SplitQueriesByInterval     time.Duration // also the alignment of answers: see frontend
	MaxConcurrentTailRequests  int
	RequiredLabels             []string // labels that each selector of a query must have matchers of
	MinimumLabelsNumber        int      // of labels that each selector of a query must have matchers of
	BlockedQueries             []BlockedQuery
	VolumeEnabled              bool
	VolumeMaxSeries            int

	// Rules.
	RulerMaxRulesPerRuleGroup   int  // 0 means no limit
	RulerMaxRuleGroupsPerTenant int  // 0 means no limit
	RulerTenantShardSize        int  // rulers that share the tenant's groups; 0 means all
	RulerRemoteWriteDisabled    bool // what rules record is not sent on

	// Retention. What is older than its period is deleted; the period of a stream is that of the first of
	// RetentionStream, by priority, whose selector matches, else RetentionPeriod.
	RetentionPeriod time.Duration // 0 means forever
	RetentionStream []StreamRetention
	RetentionBytes  int64 // stored bytes that a tenant may have; beyond, the oldest go. 0 means no limit

	// RetentionDiskShare is the share of the disk, from 0 to 1, that a tenant may have; beyond, the oldest go. It
	// counts where the disk is known, which is not so with an object store. 0 means no limit.
	RetentionDiskShare float64

	DeletionMode string // what delete requests do, one of the constants below; empty means DeletionFull
}

// What delete requests do.
const (
	DeletionDisabled   = "disabled"          // none are taken, and those that there are have no effect
	DeletionFilterOnly = "filter-only"       // queries don't see the rows, which are kept
	DeletionFull       = "filter-and-delete" // queries don't see the rows, which are removed
)

// Strategies of the ingestion rate.
const (
	GlobalRate = "global"
	LocalRate  = "local"
)

// BlockedQuery is a query that is refused, or a kind of them. With neither Hash nor Pattern it is every query of its types.
type BlockedQuery struct {
	Hash    uint32   // unless 0: the query whose text has this 32-bit FNV-1 hash, which log lines of queries call query_hash
	Pattern string   // the text of the query, apart from blanks around it
	Regex   bool     // Pattern is a regular expression that the text must match somewhere; a bad one blocks nothing
	Types   []string // metric, filter (with stages) or limited (a selector alone); none: all
}

// StreamRetention is how long some streams are kept.
type StreamRetention struct {
	Selector string        // a stream selector, such as {namespace="dev"}
	Priority int           // where several match, the highest counts; of equals the first
	Period   time.Duration // 0 means forever
}

// Default returns Loki's defaults.
func Default() Limits {
	return Limits{
		IngestionRateMB:                   4,
		IngestionRateStrategy:             GlobalRate,
		IngestionBurstSizeMB:              6,
		PerStreamRateLimit:                3 << 20,
		PerStreamRateLimitBurst:           15 << 20,
		MaxLineSize:                       256 << 10,
		MaxLabelNamesPerSeries:            15,
		MaxLabelNameLength:                1024,
		MaxLabelValueLength:               2048,
		RejectOldSamples:                  true,
		RejectOldSamplesMaxAge:            7 * 24 * time.Hour,
		CreationGracePeriod:               10 * time.Minute,
		MaxGlobalStreamsPerUser:           5000,
		AllowStructuredMetadata:           true,
		MaxStructuredMetadataSize:         64 << 10,
		MaxStructuredMetadataEntriesCount: 128,
		DiscoverServiceName: []string{
			"service", "app", "application", "app_name", "name", "app_kubernetes_io_name", "container",
			"container_name", "k8s_container_name", "component", "workload", "job", "k8s_job_name",
		},
		DiscoverLogLevels: true,
		LogLevelFields:    []string{"level", "LEVEL", "Level", "log.level", "severity", "SEVERITY", "Severity", "SeverityText", "lvl", "LVL", "Lvl", "severity_text", "Severity_Text", "SEVERITY_TEXT"},
		OTLP:              OTLP{Labels: DefaultOTLPLabels()},

		MaxQueryLength:             721 * time.Hour,
		MaxQuerySeries:             500,
		MaxEntriesLimitPerQuery:    5000,
		MaxStreamsMatchersPerQuery: 1000,
		MaxQueryMemory:             256 << 20,
		MaxQueryParallelism:        32,
		QueryTimeout:               time.Minute,
		SplitQueriesByInterval:     time.Hour,
		MaxConcurrentTailRequests:  10,
		VolumeEnabled:              true,
		VolumeMaxSeries:            1000,

		DeletionMode: DeletionFull,
	}
}

// Provider returns the limits of a tenant. It may be called on every request, from several
// goroutines, and may answer differently over time; the answer must not be changed by either side.
type Provider func(tenant string) *Limits

// Fixed is a Provider that gives every tenant the same limits.
func Fixed(l Limits) Provider {
	return func(string) *Limits { return &l }
}
