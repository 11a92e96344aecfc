package config

import "example.com/loki"

// Tuning is what Loki has no setting for, or one with another meaning. Zero means the engine's default. What has no
// setting at all of the components' Config (timeouts of single calls, sizes of log files and pages) has nothing that an
// operator could decide better.
type Tuning struct {
	HeadBytes        int64 // ingester: memory for lines that are in no segment yet
	WALBytes         int64 // ingester: of all log files together
	CutConcurrency   int   // ingester: segments written at once
	PushBytes        int64 // distributor: memory of pushes that are being read
	PendingBytes     int64 // distributor: under way to one ingester
	PageCacheBytes   int64 // store
	IndexCacheBytes  int64 // store
	TaskBytes        int64 // frontend: what a task should read
	TenantTaskBytes  int64 // scheduler: what tasks of a tenant may read at once
	TaskBytesAtOnce  int64 // scheduler: … of all tenants
	TaskParallelism  int   // querier: goroutines of a task
	MaxRequestBytes  int   // gRPC: a request of several messages
	CatalogFilesOpen int   // store: segments that are opened at once
}

func tuningSettings(c *Config) []setting {
	t := &c.Tuning
	return []setting{
		{"ingester.max_head_bytes", "ingester.max-head-bytes", "memory for lines before they are a segment; 0 for 192MB (not in Loki)", size(&t.HeadBytes)},
		{"ingester.wal.max_bytes", "ingester.wal-max-bytes", "of the write-ahead log; bounds a replay; 0 for 512MB (not in Loki)", size(&t.WALBytes)},
		{"ingester.cut_concurrency", "ingester.cut-concurrency", "segments written at once; 0 for 2 (not in Loki)", number(&t.CutConcurrency)},
		{"distributor.max_inflight_bytes", "distributor.max-inflight-bytes", "memory of pushes that are being read; 0 for 640MB (not in Loki)", size(&t.PushBytes)},
		{"ingester_client.max_pending_bytes", "ingester.client.max-pending-bytes", "under way to one ingester; 0 for 64MB (not in Loki)", size(&t.PendingBytes)},
		{"storage_config.page_cache_bytes", "store.page-cache-bytes", "memory for decoded columns; 0 for 48MB (not in Loki)", size(&t.PageCacheBytes)},
		{"storage_config.index_cache_bytes", "store.index-cache-bytes", "memory for indexes of segments; 0 for 64MB (not in Loki)", size(&t.IndexCacheBytes)},
		{"storage_config.open_concurrency", "store.open-concurrency", "segments opened at once; 0 for the default (not in Loki)", number(&t.CatalogFilesOpen)},
		{"frontend.task_bytes", "frontend.task-bytes", "what a task should read; 0 for 256MB (not in Loki)", size(&t.TaskBytes)},
		{"query_scheduler.tenant_bytes", "query-scheduler.tenant-bytes", "what a tenant's tasks may read at once; 0 for 64GB (not in Loki)", size(&t.TenantTaskBytes)},
		{"query_scheduler.max_bytes", "query-scheduler.max-bytes", "… those of all; 0 for no limit (not in Loki)", size(&t.TaskBytesAtOnce)},
		{"querier.task_parallelism", "querier.task-parallelism", "goroutines of a task; 0 for one a processor (not in Loki)", number(&t.TaskParallelism)},
		{"server.grpc_max_request_bytes", "server.grpc-max-request-bytes", "of a request over gRPC kept in memory; larger pushes in parts; 0 for 512MB (not in Loki)", size(&t.MaxRequestBytes)},
	}
}

// apply sets what was said of the components; what was not stays as it is.
func (t Tuning) apply(e *loki.Config) {
	if t.HeadBytes > 0 { // else it follows the size of segments
		e.Ingester.MaxHeadBytes = t.HeadBytes
	}
	e.Ingester.WALTarget, e.Ingester.CutConcurrency = t.WALBytes, t.CutConcurrency
	e.Distributor.MaxInflight, e.Replicas.MaxPending = t.PushBytes, t.PendingBytes
	e.Store.CacheBytes, e.Store.IndexCacheBytes, e.Store.OpenConcurrency = t.PageCacheBytes, t.IndexCacheBytes, t.CatalogFilesOpen
	e.Frontend.TaskBytes = t.TaskBytes
	e.Scheduler.TenantBytes, e.Scheduler.MaxBytes = t.TenantTaskBytes, t.TaskBytesAtOnce
	e.Querier.Parallelism = t.TaskParallelism
	e.Cluster.GRPC.MaxRequest = t.MaxRequestBytes
}
