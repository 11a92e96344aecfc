package config

import (
	"slices"

	"example.com/loki/limits"
)

// setting binds a YAML key and a flag to a field. Either name may be empty. Where Loki has the
// setting, the names are Loki's.
type setting struct {
	key, flag string
	help      string
	value
}

// group is a heading of the help text and what belongs under it.
type group struct {
	title    string
	settings []setting
}

// groups lists all settings that mean something here, bound to c.
func groups(c *Config) []group {
	groups := []group{
		{"Program", []setting{
			{"", "config.file", "YAML files, separated by commas; the first that exists is read", text(&c.files)},
			{"", "config.expand-env", "replace ${NAME} and ${NAME:-default} in the file", boolean(&c.expandEnv)},
			{"target", "target", "components or groups to run, separated by commas; see -list-targets", list(&c.Target)},
			{"", "list-targets", "print what -target can name and exit", boolean(&c.ListTargets)},
			{"", "verify-config", "check the configuration and exit", boolean(&c.Verify)},
			{"", "print-config-stderr", "print the configuration in effect when starting", boolean(&c.Print)},
			{"", "health", "ask a running server whether it is ready, and exit with 0 or 1", boolean(&c.Health)},
			{"", "health.url", "where to ask", text(&c.HealthURL)},
			{"", "version", "print the version and exit", boolean(&c.Version)},
			{"", "help", "print this and exit", boolean(&c.Help)},
		}},
		{"Folders", []setting{
			{"common.path_prefix", "common.path-prefix", "folder of everything that is stored", text(&c.Dir)},
			{"storage_config.filesystem.directory", "local.chunk-directory", "folder of the segments, if elsewhere", text(&c.StoreDir)},
			{"common.storage.filesystem.chunks_directory", "common.storage.filesystem.chunk-directory", "the same", text(&c.StoreDir)},
			{"ingester.wal.dir", "ingester.wal-dir", "folder of the write-ahead log, if elsewhere", text(&c.WALDir)},
		}},
		{"Server", []setting{
			{"server.http_listen_address", "server.http-listen-address", "address to listen on; empty for all, as with a file", text(&c.Server.HTTPAddress)},
			{"server.http_listen_port", "server.http-listen-port", "port; 0 for any free one", number(&c.Server.HTTPPort)},
			{"server.http_path_prefix", "server.path-prefix", "put before each path, such as /logs", text(&c.Server.HTTPPrefix)},
			{"auth_enabled", "auth.enabled", "demand the tenant in X-Scope-OrgID; true if there is a file", boolean(&c.AuthEnabled)},
			{"server.http_tls_config.cert_file", "server.http-tls-cert-path", "certificate, for TLS", text(&c.Server.CertFile)},
			{"server.http_tls_config.key_file", "server.http-tls-key-path", "its key", text(&c.Server.KeyFile)},
			{"server.http_tls_config.client_auth_type", "server.http-tls-client-auth", "which certificates of clients are asked for", text(&c.Server.ClientAuth)},
			{"server.http_tls_config.client_ca_file", "server.http-tls-ca-path", "who signs these", text(&c.Server.ClientCAFile)},
			{"server.http_server_read_header_timeout", "server.http-read-header-timeout", "for the headers of a request", duration(&c.Server.ReadHeaderTimeout)},
			{"server.http_server_read_timeout", "server.http-read-timeout", "for a request", duration(&c.Server.ReadTimeout)},
			{"server.http_server_write_timeout", "server.http-write-timeout", "for an answer; 0 for the query timeout and 30s", duration(&c.Server.WriteTimeout)},
			{"server.http_server_idle_timeout", "server.http-idle-timeout", "between requests of a connection", duration(&c.Server.IdleTimeout)},
			{"server.graceful_shutdown_timeout", "server.graceful-shutdown-timeout", "for requests to end when stopping", duration(&c.Server.ShutdownTimeout)},
			{"server.grpc_listen_address", "server.grpc-listen-address", "address of gRPC, which other processes use", text(&c.Server.GRPCAddress)},
			{"server.grpc_listen_port", "server.grpc-listen-port", "its port", number(&c.Server.GRPCPort)},
			{"server.grpc_tls_config.cert_file", "server.grpc-tls-cert-path", "certificate, for TLS", text(&c.Server.GRPCCertFile)},
			{"server.grpc_tls_config.key_file", "server.grpc-tls-key-path", "its key", text(&c.Server.GRPCKeyFile)},
			{"server.grpc_tls_config.client_auth_type", "server.grpc-tls-client-auth", "which certificates of clients are asked for", text(&c.Server.GRPCClientAuth)},
			{"server.grpc_tls_config.client_ca_file", "server.grpc-tls-ca-path", "who signs these", text(&c.Server.GRPCClientCAFile)},
			{"server.grpc_server_max_recv_msg_size", "server.grpc-max-recv-msg-size-bytes", "largest message over gRPC; 0 for 100 MiB", size(&c.Server.GRPCMaxReceive)},
			{"server.grpc_server_max_send_msg_size", "server.grpc-max-send-msg-size-bytes", "… that is sent; 0 for no bound", size(&c.Server.GRPCMaxSend)},
			{"server.log_level", "log.level", "debug, info, warn or error", text(&c.LogLevel)},
			{"server.log_format", "log.format", "logfmt or json", text(&c.LogFormat)},
			{"server.register_instrumentation", "server.register-instrumentation", "serve /debug/pprof and /debug/fgprof", boolean(&c.Pprof)},
		}},
		{"New lines", []setting{
			{"ingester.wal.enabled", "ingester.wal-enabled", "false: a push doesn't wait for the disk", boolean(&c.Ingester.WALEnabled)},
			{"ingester.wal.compression", "ingester.wal-compression", "of the write-ahead log: s2, zstd or none (not in Loki)", choice(&c.Ingester.WALCompression, "s2", "zstd", "none")},
			{"ingester.wal.flush_on_shutdown", "ingester.flush-on-shutdown", "write segments when stopping", boolean(&c.Ingester.FlushOnShutdown)},
			{"ingester.chunk_target_size", "ingester.chunk-target-size", "segments grow and shrink with it", size(&c.Ingester.ChunkTargetSize)},
			{"ingester.max_chunk_age", "ingester.max-chunk-age", "lines become a segment after this long", duration(&c.Ingester.MaxChunkAge)},
			{"ingester.chunk_idle_period", "ingester.chunks-idle-period", "… and when nothing came for this long", duration(&c.Ingester.ChunkIdlePeriod)},
			{"distributor.max_recv_msg_size", "distributor.max-recv-msg-size", "largest body of a push", size(&c.Writing.MaxBodySize)},
			{"distributor.max_decompressed_size", "distributor.max-decompressed-size", "largest body after decompression", size(&c.Writing.MaxDecompressedSize)},
		}},
		{"Queries", []setting{
			{"querier.max_concurrent", "querier.max-concurrent", "tasks at once; 0 for two a processor", number(&c.Reading.MaxConcurrent)},
			{"querier.tail_max_duration", "querier.tail-max-duration", "how long a tail lasts at most; 0 for no limit", duration(&c.Reading.TailMaxDuration)},
			{"frontend.log_queries_longer_than", "frontend.log-queries-longer-than", "call slower queries slow in the log; 0 for 10s", duration(&c.Reading.LogSlowQueries)},
			{"query_range.max_retries", "querier.max-retries-per-request", "of a task whose querier went away", number(&c.Reading.MaxRetries)},
			{"querier.multi_tenant_queries_enabled", "querier.multi-tenant-queries-enabled", "queries may name several tenants, as in a|b", boolean(&c.Reading.MultiTenant)},
		}},
		{"Kept answers", slices.Concat(
			cacheSettings(&c.Reading.Results, "cache_results", "querier.cache-results", "results_cache", "frontend.", "range and log queries"),
			cacheSettings(&c.Reading.InstantResults, "cache_instant_metric_results", "querier.cache-instant-metric-results", "instant_metric_results_cache", "frontend.instant-metric-results-cache.", "instant metric queries"),
			cacheSettings(&c.Reading.LabelResults, "cache_label_results", "querier.cache-label-results", "label_results_cache", "frontend.label-results-cache.", "lists of labels and values, of stored lines"),
			cacheSettings(&c.Reading.SeriesResults, "cache_series_results", "querier.cache-series-results", "series_results_cache", "frontend.series-results-cache.", "lists of streams, of stored lines"),
			cacheSettings(&c.Reading.VolumeResults, "cache_volume_results", "querier.cache-volume-results", "volume_results_cache", "frontend.volume-results-cache.", "volumes and statistics, of stored lines"),
			cacheSettings(&c.Reading.StatsResults, "cache_index_stats_results", "querier.cache-index-stats-results", "index_stats_results_cache", "frontend.index-stats-results-cache.", "the same, if cache_volume_results is false"))},
		{"Stored lines", []setting{
			{"ingester.handover_window", "ingester.handover-window", "queries may ask for a new segment for so long; 0 for 1h, alone 5m (not in Loki)", duration(&c.Ingester.HandoverWindow)},
			{"compactor.compaction_interval", "compactor.compaction-interval", "between passes; 0 for 10m", duration(&c.Compactor.Interval)},
			{"compactor.min_age", "compactor.min-age", "of segments before they are touched; 0 for 5m more than handover (not in Loki)", duration(&c.Compactor.MinAge)},
			{"compactor.max_segment_size", "compactor.max-segment-size", "lines of a merged segment; 0 for 1GB (not in Loki)", size(&c.Compactor.MaxSegment)},
			{"compactor.bytes_per_second", "compactor.bytes-per-second", "bound of merging; 0 for 16MB (not in Loki)", size(&c.Compactor.Rate)},
			{"compactor.min_share", "compactor.min-share", "of a processor, while others wait for one; 0 for 0.1 (not in Loki)", decimal(&c.Compactor.MinShare)},
			{"compactor.verify_interval", "compactor.verify-interval", "in which all checksums are verified; 0 for 7d (not in Loki)", duration(&c.Compactor.VerifyInterval)},
			{"compactor.retention_enabled", "compactor.retention-enabled", "drop what is older than retention_period", boolean(&c.Compactor.RetentionEnabled)},
			{"compactor.retention_delete_delay", "compactor.retention-delete-delay", "until objects that are not needed go; 0 for 1h", duration(&c.Compactor.DeleteDelay)},
			{"compactor.retention_dry_run", "compactor.retention-dry-run", "only log what retention would drop (not in Loki)", boolean(&c.Compactor.DryRun)},
			{"compactor.retention_max_bytes", "compactor.retention-max-bytes", "stored bytes of all tenants; 0 for no limit (not in Loki)", size(&c.Compactor.MaxBytes)},
			{"compactor.retention_max_disk_share", "compactor.retention-max-disk-share", "of the disk, 0 to 1; 0 for no limit (not in Loki)", decimal(&c.Compactor.MaxDiskShare)},
			{"compactor.delete_request_cancel_period", "compactor.delete-request-cancel-period", "before rows are removed; 0 for 24h", duration(&c.Compactor.CancelPeriod)},
			{"compactor.delete_request_poll_interval", "compactor.delete-request-poll-interval", "how often other processes read them; 0 for 10s (not in Loki)", duration(&c.Compactor.PollInterval)},
		}},
		{"Limits of single tenants", []setting{
			{"runtime_config.file", "runtime-config.file", "YAML: overrides, tenant, limits", text(&c.RuntimeFile)},
			{"runtime_config.period", "runtime-config.reload-period", "how often it is read again", duration(&c.RuntimePeriod)},
		}},
		{"Memory and concurrency", tuningSettings(c)},
		{"Rules", rulerSettings(c)},
		{"Limits on pushes, per tenant", writeLimits(c)},
		{"Limits on queries, per tenant", readLimits(c)},
		{"Limits on rules, per tenant", rulerLimits(c)},
		{"Retention and deletes, per tenant", retentionLimits(c)},
	}
	return append(groups, clusterSettings(c)...)
}

func writeLimits(c *Config) []setting {
	l := &c.Limits
	const k = "limits_config."
	return []setting{
		{k + "ingestion_rate_mb", "distributor.ingestion-rate-limit-mb", "MB a second; 0 for no limit", decimal(&l.IngestionRateMB)},
		{k + "ingestion_rate_strategy", "distributor.ingestion-rate-limit-strategy", "global: of all distributors together; local: of each", text(&l.IngestionRateStrategy)},
		{k + "ingestion_burst_size_mb", "distributor.ingestion-burst-size-mb", "MB at once", decimal(&l.IngestionBurstSizeMB)},
		{k + "per_stream_rate_limit", "ingester.per-stream-rate-limit", "bytes a second of a stream; 0 for no limit", size(&l.PerStreamRateLimit)},
		{k + "per_stream_rate_limit_burst", "ingester.per-stream-rate-limit-burst", "bytes at once of a stream", size(&l.PerStreamRateLimitBurst)},
		{k + "max_global_streams_per_user", "ingester.max-global-streams-per-user", "active streams; 0 for no limit", number(&l.MaxGlobalStreamsPerUser)},
		{k + "max_line_size", "distributor.max-line-size", "bytes of a line; 0 for no limit", size(&l.MaxLineSize)},
		{k + "max_line_size_truncate", "distributor.max-line-size-truncate", "cut longer lines instead of refusing them", boolean(&l.MaxLineSizeTruncate)},
		{k + "max_label_names_per_series", "validation.max-label-names-per-series", "labels of a stream", number(&l.MaxLabelNamesPerSeries)},
		{k + "max_label_name_length", "validation.max-length-label-name", "bytes", number(&l.MaxLabelNameLength)},
		{k + "max_label_value_length", "validation.max-length-label-value", "bytes", number(&l.MaxLabelValueLength)},
		{k + "reject_old_samples", "validation.reject-old-samples", "refuse old lines", boolean(&l.RejectOldSamples)},
		{k + "reject_old_samples_max_age", "validation.reject-old-samples.max-age", "what old means", duration(&l.RejectOldSamplesMaxAge)},
		{k + "creation_grace_period", "validation.create-grace-period", "how far in the future a line may lie", duration(&l.CreationGracePeriod)},
		{k + "allow_structured_metadata", "validation.allow-structured-metadata", "take structured metadata", boolean(&l.AllowStructuredMetadata)},
		{k + "max_structured_metadata_size", "limits.max-structured-metadata-size", "bytes a line", size(&l.MaxStructuredMetadataSize)},
		{k + "max_structured_metadata_entries_count", "limits.max-structured-metadata-entries-count", "names a line", number(&l.MaxStructuredMetadataEntriesCount)},
		{k + "discover_service_name", "validation.discover-service-name", "labels to take service_name from", list(&l.DiscoverServiceName)},
		{k + "discover_log_levels", "validation.discover-log-levels", "add detected_level", boolean(&l.DiscoverLogLevels)},
		{k + "log_level_fields", "validation.log-level-fields", "fields that hold a level", list(&l.LogLevelFields)},
		{k + "otlp_config", "", "attributes of OpenTelemetry logs: resource_attributes, scope_attributes, log_attributes", otlpRules(&l.OTLP)},
		{"distributor.otlp_config.default_resource_attributes_as_index_labels", "distributor.otlp.default_resource_attributes_as_index_labels", "attributes of resources that are labels by default", list(&l.OTLP.Labels)},
	}
}

func readLimits(c *Config) []setting {
	l := &c.Limits
	const k = "limits_config."
	return []setting{
		{k + "query_timeout", "querier.query-timeout", "for a query; 0 for no limit", duration(&l.QueryTimeout)},
		{k + "max_query_length", "store.max-query-length", "span of a query; 0 for no limit", duration(&l.MaxQueryLength)},
		{k + "max_query_lookback", "querier.max-query-lookback", "how far back; 0 for no limit", duration(&l.MaxQueryLookback)},
		{k + "max_query_range", "querier.max-query-range", "[range] in a metric query; 0 for no limit", duration(&l.MaxQueryRange)},
		{k + "max_query_series", "querier.max-query-series", "series of an answer", number(&l.MaxQuerySeries)},
		{k + "max_entries_limit_per_query", "validation.max-entries-limit", "largest limit of a log query", number(&l.MaxEntriesLimitPerQuery)},
		{k + "max_streams_matchers_per_query", "querier.max-streams-matcher-per-query", "matchers of a query", number(&l.MaxStreamsMatchersPerQuery)},
		{k + "max_query_bytes_read", "frontend.max-query-bytes-read", "bytes of lines to read; 0 for no limit", size(&l.MaxQueryBytesRead)},
		{k + "max_query_memory", "querier.max-query-memory", "bytes held at once; 0 for no limit (not in Loki)", size(&l.MaxQueryMemory)},
		{k + "max_query_parallelism", "querier.max-query-parallelism", "tasks of a query at once", number(&l.MaxQueryParallelism)},
		{k + "split_queries_by_interval", "querier.split-queries-by-interval", "how answers align", duration(&l.SplitQueriesByInterval)},
		{k + "max_concurrent_tail_requests", "querier.max-concurrent-tail-requests", "tails at once", number(&l.MaxConcurrentTailRequests)},
		{k + "required_labels", "", "labels that selectors must name", list(&l.RequiredLabels)},
		{k + "minimum_labels_number", "", "labels that selectors must name at least", number(&l.MinimumLabelsNumber)},
		{k + "blocked_queries", "", "queries that are refused: a list of pattern, regex, hash, types", blockedQueries(&l.BlockedQueries)},
		{k + "volume_enabled", "limits.volume-enabled", "answer index/volume", boolean(&l.VolumeEnabled)},
		{k + "volume_max_series", "limits.volume-max-series", "series of such an answer", number(&l.VolumeMaxSeries)},
	}
}

func retentionLimits(c *Config) []setting {
	l := &c.Limits
	const k = "limits_config."
	return []setting{
		{k + "retention_period", "store.retention", "how long lines are kept; 0 for ever", duration(&l.RetentionPeriod)},
		{k + "retention_stream", "", "periods of streams: a list of selector, priority, period", streamRetention(&l.RetentionStream)},
		{k + "retention_bytes", "store.retention-bytes", "stored bytes of a tenant; 0 for no limit (not in Loki)", size(&l.RetentionBytes)},
		{k + "retention_disk_share", "store.retention-disk-share", "of the disk, 0 to 1; 0 for no limit (not in Loki)", decimal(&l.RetentionDiskShare)},
		{k + "deletion_mode", "compactor.deletion-mode", "disabled, filter-only or filter-and-delete", choice(&l.DeletionMode, limits.DeletionDisabled, limits.DeletionFilterOnly, limits.DeletionFull)},
	}
}

// moot are settings that ask for what happens anyway. They are accepted without a warning.
func moot() map[string]string {
	return map[string]string{
		"analytics.reporting_enabled":    "false",
		"limits_config.unordered_writes": "true",
		"pattern_ingester.enabled":       "false",
		"ruler.enable_alertmanager_v2":   "true",
		"ruler.enable_sharding":          "true",
		"ruler.sharding_strategy":        "default",
		"ruler.sharding_algo":            "by-group",
	}
}

// cannotIgnore returns settings that must not be ignored: whoever sets them counts on something that would not
// be so. The text says what to do instead.
func cannotIgnore() map[string]string {
	return map[string]string{
		"server.http_tls_config.client_ca": "use client_ca_file",
		"server.http_tls_config.cert":      "use cert_file and key_file",
		"server.http_tls_config.key":       "use cert_file and key_file",
		"server.grpc_tls_config.client_ca": "use client_ca_file",
		"server.grpc_tls_config.cert":      "use cert_file and key_file",
		"server.grpc_tls_config.key":       "use cert_file and key_file",
	}
}
