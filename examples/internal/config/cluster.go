package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"example.com/loki"
	"example.com/loki/cluster"
	"example.com/loki/ring"
	"example.com/loki/store/s3"
)

// Cluster says how this process finds the others.
type Cluster struct {
	// Addresses of components that run elsewhere; those of ingesters come from the ring.
	Scheduler, WorkerScheduler, IndexGateway, Querier string

	SchedulerRing bool // the scheduler is found by its ring

	IndexGatewayMode   string // simple or ring: how these are found, and who keeps copies of which indexes
	GatewayReplication int    // index gateways of each tenant in mode ring; 0: 3
	GatewayTokensFile  string

	KVStore           string // inmemory or memberlist; empty: memberlist if there is somebody to join
	ReplicationFactor int    // 0: 3 with memberlist, else 1
	ZoneAware         bool
	Join              []string
	RejoinInterval    time.Duration
	RequireJoin       bool
	BindAddr          []string
	BindPort          int
	AdvertiseAddr     string
	AdvertisePort     int
	Label             string

	InstanceID       string
	InstanceAddr     string
	InstancePort     int
	Interfaces       []string
	IPv6             bool
	Zone             string
	HeartbeatPeriod  time.Duration
	HeartbeatTimeout time.Duration
	Tokens           int
	TokensFile       string
	JoinAfter        time.Duration
	FinalSleep       time.Duration
	Unregister       bool
	Forget           bool

	JoinRetries                int
	MinJoinPause, MaxJoinPause time.Duration
	GossipInterval             time.Duration
	GossipNodes                int
	SyncInterval, LeftTimeout  time.Duration
	GossipTLS                  TLS
}

// TLS is for connections that this process makes over gRPC.
type TLS struct {
	Enabled                   bool
	CertFile, KeyFile, CAFile string
	ServerName                string
	SkipVerify                bool
}

// S3 says where an object store is.
type S3 struct {
	URL string // s3://KEY:SECRET@REGION-OR-ENDPOINT/BUCKET
	s3.Config
}

// ringed tells whether processes are found through a ring.
func (c *Config) ringed() bool {
	switch c.Cluster.KVStore {
	case "memberlist":
		return true
	case "inmemory":
		return false
	}
	return len(c.Cluster.Join) > 0
}

// Replication returns how many ingesters get each line.
func (c *Config) Replication() int {
	if c.ringed() {
		return cmp.Or(c.Cluster.ReplicationFactor, 3)
	}
	return 1
}

// addresses returns where components are that run elsewhere.
func (c *Config) addresses() map[loki.Component]string {
	all := map[loki.Component]string{}
	for name, addr := range map[loki.Component]string{
		loki.QueryScheduler: cmp.Or(c.Cluster.Scheduler, c.Cluster.WorkerScheduler),
		loki.IndexGateway:   c.Cluster.IndexGateway,
		loki.Querier:        c.Cluster.Querier,
	} {
		if addr != "" {
			all[name] = addr
		}
	}
	if c.Ruler.EvaluationMode == "remote" {
		all[loki.QueryFrontend] = c.Ruler.Frontend
	}
	return all
}

// checkCluster refuses what makes no sense.
func (c *Config) checkCluster() error {
	var errs []error
	if _, err := loki.ParseTargets(c.Target...); err != nil {
		for _, t := range c.Target {
			if n := nearest(t, loki.Targets()); n != "" && n != t {
				err = fmt.Errorf("%w; did you mean %s?", err, n)
			}
		}
		errs = append(errs, err)
	}
	switch c.Cluster.KVStore {
	case "", "inmemory", "memberlist":
	default:
		errs = append(errs, fmt.Errorf("kvstore %q is not available here; use memberlist", c.Cluster.KVStore))
	}
	switch c.Cluster.IndexGatewayMode {
	case "simple", "ring":
	default:
		errs = append(errs, fmt.Errorf("index_gateway.mode is %q; it can be simple or ring", c.Cluster.IndexGatewayMode))
	}
	if n := len(c.Cluster.BindAddr); n > 1 {
		errs = append(errs, fmt.Errorf("memberlist.bind_addr has %d addresses; use one, or none for all", n))
	}
	if c.Cluster.KVStore == "inmemory" && len(c.Cluster.Join) > 0 {
		errs = append(errs, errors.New("kvstore is inmemory, but memberlist.join_members names others; use memberlist"))
	}
	if n := c.Cluster.ReplicationFactor; n > 1 && !c.ringed() {
		errs = append(errs, fmt.Errorf("replication_factor is %d, but no other process is known: set memberlist.join_members", n))
	}
	if _, err := c.S3.resolve(); err != nil {
		errs = append(errs, err)
	}
	switch {
	case c.UsesS3() || c.objectStore == "filesystem":
	case c.objectStore == "s3":
		errs = append(errs, errors.New("object_store is s3; set common.storage.s3.bucketnames and endpoint"))
	case c.S3.Endpoint != "":
		errs = append(errs, errors.New("common.storage.s3 has an endpoint and no bucketnames; name a bucket, or leave out the endpoint to store in a folder"))
	}
	return errors.Join(errs...)
}

// UsesS3 tells whether segments are in S3 rather than in a folder.
func (c *Config) UsesS3() bool {
	return c.objectStore != "filesystem" && (c.S3.Bucket != "" || c.S3.URL != "")
}

// Bucket returns the configuration of the object store.
func (c *Config) Bucket() s3.Config {
	cfg, _ := c.S3.resolve() // checked by Load
	return cfg
}

// resolve returns the configuration with what the URL says.
func (b S3) resolve() (s3.Config, error) {
	cfg := b.Config
	if b.URL == "" {
		if first, rest, ok := strings.Cut(cfg.Bucket, ","); ok && rest != "" {
			return cfg, fmt.Errorf("s3 bucketnames has several; one bucket (%s) is used here", first)
		}
		scheme, host, ok := strings.Cut(cfg.Endpoint, "://")
		if ok {
			cfg.Endpoint, cfg.Insecure = strings.TrimSuffix(host, "/"), scheme == "http"
		}
		if cfg.Endpoint == "" && cfg.Bucket != "" {
			cfg.Endpoint = amazon(cfg.Region)
		}
		return cfg, nil
	}
	u, err := url.Parse(b.URL)
	if err != nil {
		return cfg, errors.New("the URL of s3 is none") // its text holds a secret
	}
	if u.User != nil {
		cfg.AccessKey = u.User.Username()
		cfg.SecretKey, _ = u.User.Password()
	}
	cfg.Bucket = cmp.Or(cfg.Bucket, strings.Trim(u.Path, "/"))
	cfg.Endpoint = u.Host
	if !strings.ContainsAny(u.Host, ".:") { // a region
		cfg.Region, cfg.Endpoint = u.Host, amazon(u.Host)
	}
	if cfg.Bucket == "" {
		return cfg, errors.New("the URL of s3 has no bucket")
	}
	return cfg, nil
}

func amazon(region string) string {
	if region == "" {
		return "s3.amazonaws.com"
	}
	return "s3." + region + ".amazonaws.com"
}

func clusterSettings(c *Config) []group {
	k, t := &c.Cluster, &c.ClientTLS
	return []group{
		{"Other processes", []setting{
			{"memberlist.join_members", "memberlist.join", "members of the cluster to contact, as host:port", list(&k.Join)},
			{"memberlist.bind_addr", "memberlist.bind-addr", "address of gossip; empty for all", list(&k.BindAddr)},
			{"memberlist.bind_port", "memberlist.bind-port", "port of gossip", number(&k.BindPort)},
			{"memberlist.advertise_addr", "memberlist.advertise-addr", "where others reach gossip, if elsewhere", text(&k.AdvertiseAddr)},
			{"memberlist.advertise_port", "memberlist.advertise-port", "… its port", number(&k.AdvertisePort)},
			{"memberlist.cluster_label", "memberlist.cluster-label", "members with another one are strangers", text(&k.Label)},
			{"memberlist.rejoin_interval", "memberlist.rejoin-interval", "how often members are contacted again; 0 for 30s, 10s where one is named", duration(&k.RejoinInterval)},
			{"memberlist.abort_if_cluster_join_fails", "memberlist.abort-if-join-fails", "stop if no member can be reached", boolean(&k.RequireJoin)},
			{"memberlist.max_join_retries", "memberlist.max-join-retries", "how often a start tries again to reach a member; 0 for 10", number(&k.JoinRetries)},
			{"memberlist.min_join_backoff", "memberlist.min-join-backoff", "shortest pause before that; 0 for 250ms", duration(&k.MinJoinPause)},
			{"memberlist.max_join_backoff", "memberlist.max-join-backoff", "longest; 0 for 5s", duration(&k.MaxJoinPause)},
			{"memberlist.gossip_interval", "memberlist.gossip-interval", "how often news are passed on; 0 for 200ms", duration(&k.GossipInterval)},
			{"memberlist.gossip_nodes", "memberlist.gossip-nodes", "to how many members; 0 for 3", number(&k.GossipNodes)},
			{"memberlist.pull_push_interval", "memberlist.pullpush-interval", "how often all is compared with another member; 0 for 30s", duration(&k.SyncInterval)},
			{"memberlist.left_ingesters_timeout", "memberlist.left-ingesters-timeout", "how long it is remembered who left; 0 for 5m", duration(&k.LeftTimeout)},
			{"memberlist.tls_enabled", "memberlist.tls-enabled", "TLS for gossip", boolean(&k.GossipTLS.Enabled)},
			{"memberlist.tls_cert_path", "memberlist.tls-cert-path", "certificate to show", text(&k.GossipTLS.CertFile)},
			{"memberlist.tls_key_path", "memberlist.tls-key-path", "its key", text(&k.GossipTLS.KeyFile)},
			{"memberlist.tls_ca_path", "memberlist.tls-ca-path", "certificates to trust", text(&k.GossipTLS.CAFile)},
			{"memberlist.tls_server_name", "memberlist.tls-server-name", "name to expect in certificates", text(&k.GossipTLS.ServerName)},
			{"memberlist.tls_insecure_skip_verify", "memberlist.tls-insecure-skip-verify", "trust any certificate", boolean(&k.GossipTLS.SkipVerify)},
			{"common.ring.kvstore.store", "common.storage.ring.store", "memberlist or inmemory", text(&k.KVStore)},
			{"ingester.lifecycler.ring.kvstore.store", "ring.store", "the same", text(&k.KVStore)},
			{"common.replication_factor", "replication-factor", "ingesters that get each line; 0 for 3 with memberlist", number(&k.ReplicationFactor)},
			{"common.ring.replication_factor", "common.storage.ring.replication-factor", "the same", number(&k.ReplicationFactor)},
			{"ingester.lifecycler.ring.replication_factor", "distributor.replication-factor", "the same", number(&k.ReplicationFactor)},
			{"common.ring.zone_awareness_enabled", "common.storage.ring.zone-awareness-enabled", "replicas in different zones", boolean(&k.ZoneAware)},
			{"ingester.lifecycler.ring.zone_awareness_enabled", "distributor.zone-awareness-enabled", "the same", boolean(&k.ZoneAware)},
			{"common.ring.instance_availability_zone", "common.storage.ring.instance-availability-zone", "zone of this process", text(&k.Zone)},
			{"ingester.lifecycler.availability_zone", "ingester.availability-zone", "the same", text(&k.Zone)},
			{"common.instance_addr", "", "address to tell others", text(&k.InstanceAddr)},
			{"common.ring.instance_addr", "common.storage.ring.instance-addr", "the same", text(&k.InstanceAddr)},
			{"ingester.lifecycler.address", "ingester.lifecycler.addr", "the same", text(&k.InstanceAddr)},
			{"common.ring.instance_port", "common.storage.ring.instance-port", "gRPC port to tell others; 0 for that which is listened on", number(&k.InstancePort)},
			{"ingester.lifecycler.port", "ingester.lifecycler.port", "the same", number(&k.InstancePort)},
			{"common.ring.instance_id", "common.storage.ring.instance-id", "name of this process; empty for the host's", text(&k.InstanceID)},
			{"ingester.lifecycler.id", "ingester.lifecycler.ID", "the same", text(&k.InstanceID)},
			{"common.instance_interface_names", "", "interfaces to look for an address on", list(&k.Interfaces)},
			{"common.ring.instance_interface_names", "common.storage.ring.instance-interface-names", "the same", list(&k.Interfaces)},
			{"ingester.lifecycler.interface_names", "ingester.lifecycler.interface", "the same", list(&k.Interfaces)},
			{"common.ring.instance_enable_ipv6", "common.storage.ring.instance-enable-ipv6", "look for an IPv6 address", boolean(&k.IPv6)},
			{"common.ring.heartbeat_period", "common.storage.ring.heartbeat-period", "how often this process says that it is there; 0 for 5s", duration(&k.HeartbeatPeriod)},
			{"common.ring.heartbeat_timeout", "common.storage.ring.heartbeat-timeout", "after how long without it counts as gone; 0 for 1m", duration(&k.HeartbeatTimeout)},
			{"ingester.lifecycler.ring.heartbeat_timeout", "ring.heartbeat-timeout", "the same", duration(&k.HeartbeatTimeout)},
			{"common.ring.tokens_file_path", "common.storage.ring.tokens-file-path", "file that keeps an ingester's place; empty: beside its log", text(&k.TokensFile)},
			{"ingester.lifecycler.tokens_file_path", "ingester.tokens-file-path", "the same", text(&k.TokensFile)},
			{"ingester.lifecycler.num_tokens", "ingester.num-tokens", "places on the ring; 0 for 128", number(&k.Tokens)},
			{"ingester.lifecycler.join_after", "ingester.join-after", "wait before taking lines; 0 for 1s", duration(&k.JoinAfter)},
			{"ingester.lifecycler.final_sleep", "ingester.final-sleep", "go on answering after leaving", duration(&k.FinalSleep)},
			{"ingester.lifecycler.unregister_on_shutdown", "ingester.unregister-on-shutdown", "leave the ring when stopping; lines are flushed before", boolean(&k.Unregister)},
			{"ingester.autoforget_unhealthy", "ingester.autoforget-unhealthy", "remove ingesters from the ring that are away for twice the heartbeat timeout", withValue(boolean(&k.Forget))},
			{"frontend.scheduler_address", "frontend.scheduler-address", "query-scheduler, over gRPC", text(&k.Scheduler)},
			{"frontend_worker.scheduler_address", "querier.scheduler-address", "the same, for queriers", text(&k.WorkerScheduler)},
			{"query_scheduler.use_scheduler_ring", "query-scheduler.use-scheduler-ring", "find query-schedulers by memberlist, in place of an address", boolean(&k.SchedulerRing)},
			{"query_scheduler.scheduler_ring.kvstore.store", "query-scheduler.ring.store", "as common.ring.kvstore.store", text(&k.KVStore)},
			{"query_scheduler.scheduler_ring.instance_id", "query-scheduler.ring.instance-id", "as common.ring.instance_id", text(&k.InstanceID)},
			{"query_scheduler.scheduler_ring.instance_addr", "query-scheduler.ring.instance-addr", "as common.ring.instance_addr", text(&k.InstanceAddr)},
			{"query_scheduler.scheduler_ring.instance_port", "query-scheduler.ring.instance-port", "as common.ring.instance_port", number(&k.InstancePort)},
			{"query_scheduler.scheduler_ring.instance_interface_names", "query-scheduler.ring.instance-interface-names", "as common.ring.instance_interface_names", list(&k.Interfaces)},
			{"query_scheduler.scheduler_ring.heartbeat_period", "query-scheduler.ring.heartbeat-period", "as common.ring.heartbeat_period", duration(&k.HeartbeatPeriod)},
			{"query_scheduler.scheduler_ring.heartbeat_timeout", "query-scheduler.ring.heartbeat-timeout", "as common.ring.heartbeat_timeout", duration(&k.HeartbeatTimeout)},
			{"frontend.querier_address", "frontend.querier-address", "querier for lists and tails, over gRPC; empty: the frontend does them (not in Loki)", text(&k.Querier)},
			{"storage_config.tsdb_shipper.index_gateway_client.server_address", "tsdb.shipper.index-gateway-client.server-address", "index-gateway, over gRPC", text(&k.IndexGateway)},
			{"index_gateway.mode", "index-gateway.mode", "simple: each for all tenants, at that address; ring: each for some", text(&k.IndexGatewayMode)},
			{"index_gateway.ring.replication_factor", "", "index gateways of each tenant in mode ring; 0 for 3", number(&k.GatewayReplication)},
			{"index_gateway.ring.tokens_file_path", "index-gateway.ring.tokens-file-path", "file that keeps an index gateway's place; empty: in its folder", text(&k.GatewayTokensFile)},
			{"index_gateway.ring.kvstore.store", "index-gateway.ring.store", "as common.ring.kvstore.store", text(&k.KVStore)},
			{"index_gateway.ring.instance_id", "index-gateway.ring.instance-id", "as common.ring.instance_id", text(&k.InstanceID)},
			{"index_gateway.ring.instance_addr", "index-gateway.ring.instance-addr", "as common.ring.instance_addr", text(&k.InstanceAddr)},
			{"index_gateway.ring.instance_port", "index-gateway.ring.instance-port", "as common.ring.instance_port", number(&k.InstancePort)},
			{"index_gateway.ring.instance_interface_names", "index-gateway.ring.instance-interface-names", "as common.ring.instance_interface_names", list(&k.Interfaces)},
			{"index_gateway.ring.heartbeat_period", "index-gateway.ring.heartbeat-period", "as common.ring.heartbeat_period", duration(&k.HeartbeatPeriod)},
			{"index_gateway.ring.heartbeat_timeout", "index-gateway.ring.heartbeat-timeout", "as common.ring.heartbeat_timeout", duration(&k.HeartbeatTimeout)},
			{"storage_config.tsdb_shipper.cache_location", "tsdb.shipper.cache-location", "folder for copies of indexes of an object store; empty: index-gateways have one in path_prefix", text(&c.Reading.IndexDir)},
			{"ingester_client.grpc_client_config.grpc_compression", "ingester.client.grpc-compression", "of all that is sent to other processes: snappy, gzip, zstd; empty for none", choice(&c.Compression, "", "snappy", "gzip", "zstd")},
			{"ingester_client.grpc_client_config.tls_enabled", "ingester.client.tls-enabled", "TLS for all connections over gRPC", boolean(&t.Enabled)},
			{"ingester_client.grpc_client_config.tls_cert_path", "ingester.client.tls-cert-path", "certificate to show", text(&t.CertFile)},
			{"ingester_client.grpc_client_config.tls_key_path", "ingester.client.tls-key-path", "its key", text(&t.KeyFile)},
			{"ingester_client.grpc_client_config.tls_ca_path", "ingester.client.tls-ca-path", "certificates to trust", text(&t.CAFile)},
			{"ingester_client.grpc_client_config.tls_server_name", "ingester.client.tls-server-name", "name to expect in certificates", text(&t.ServerName)},
			{"ingester_client.grpc_client_config.tls_insecure_skip_verify", "ingester.client.tls-insecure-skip-verify", "trust any certificate", boolean(&t.SkipVerify)},
		}},
		{"Object store", append(s3Settings(&c.S3, "common.storage.s3.", "common.storage.s3."), s3Settings(&c.S3, "storage_config.aws.", "s3.")...)},
	}
}

// s3Settings are there twice, for the block common and for that of the storage.
func s3Settings(b *S3, key, flag string) []setting {
	return []setting{
		{key + "s3", flag + "url", "s3://KEY:SECRET@ENDPOINT/BUCKET", secret(&b.URL)},
		{key + "bucketnames", flag + "buckets", "bucket of the segments; empty: a folder", text(&b.Bucket)},
		{key + "endpoint", flag + "endpoint", "host of the server", text(&b.Endpoint)},
		{key + "region", flag + "region", "region", text(&b.Region)},
		{key + "access_key_id", flag + "access-key-id", "name of the key; empty: from the environment", text(&b.AccessKey)},
		{key + "secret_access_key", flag + "secret-access-key", "the key", secret(&b.SecretKey)},
		{key + "session_token", flag + "session-token", "token of a session", secret(&b.SessionToken)},
		{key + "insecure", flag + "insecure", "no TLS", boolean(&b.Insecure)},
		{key + "s3forcepathstyle", flag + "force-path-style", "bucket in the path", boolean(&b.PathStyle)},
		{key + "http_config.insecure_skip_verify", flag + "http.insecure-skip-verify", "trust any certificate", boolean(&b.SkipVerify)},
		{key + "http_config.ca_file", flag + "http.ca-file", "certificates to trust", text(&b.CAFile)},
		{key + "http_config.response_header_timeout", flag + "http.response-header-timeout", "for an answer to begin; 0 for 30s", duration(&b.ResponseTimeout)},
		{key + "backoff_config.min_period", flag + "min-backoff", "shortest pause before a repetition; 0 for 100ms", duration(&b.MinPause)},
		{key + "backoff_config.max_period", flag + "max-backoff", "longest; 0 for 5s", duration(&b.MaxPause)},
		{key + "backoff_config.max_retries", flag + "max-retries", "repetitions; 0 for 5", number(&b.Retries)},
	}
}

// withValue is a yes or no whose flag needs to be given a value.
func withValue(v value) value {
	v.kind = "true or false"
	return v
}

// secret is a text that is not shown.
func secret(p *string) value {
	v := text(p)
	v.get = func() string {
		if *p == "" {
			return ""
		}
		return "********"
	}
	return v
}

// Membership returns how this process takes part in a cluster, and whether it does.
func (c *Config) Membership() (cluster.Config, bool) {
	k := c.Cluster
	if !c.ringed() {
		return cluster.Config{}, false
	}
	m := cluster.Config{
		Ring: ring.Config{
			Store: ring.Memberlist, Join: k.Join, RejoinInterval: k.RejoinInterval, RequireJoin: k.RequireJoin,
			BindPort: k.BindPort, AdvertiseAddr: k.AdvertiseAddr, AdvertisePort: k.AdvertisePort, ClusterLabel: k.Label,
			InstanceID: k.InstanceID, InstanceAddr: k.InstanceAddr, InstancePort: k.InstancePort,
			ListenAddr: c.Server.GRPCAddress, Interfaces: k.Interfaces, IPv6: k.IPv6, Zone: k.Zone,
			HeartbeatPeriod: k.HeartbeatPeriod, HeartbeatTimeout: k.HeartbeatTimeout,
			JoinRetries: k.JoinRetries, MinJoinPause: k.MinJoinPause, MaxJoinPause: k.MaxJoinPause,
			GossipInterval: k.GossipInterval, GossipNodes: k.GossipNodes, SyncInterval: k.SyncInterval, LeftTimeout: k.LeftTimeout,
		},
		Replication: c.Replication(), ZoneAware: k.ZoneAware, Tokens: k.Tokens, TokensFile: k.TokensFile,
		GatewayReplication: k.GatewayReplication, GatewayTokensFile: k.GatewayTokensFile, JoinAfter: k.JoinAfter, FinalSleep: k.FinalSleep, Unregister: k.Unregister, Forget: k.Forget,
	}
	if t := k.GossipTLS; t.Enabled {
		m.Ring.TLS = &ring.TLS{CertFile: t.CertFile, KeyFile: t.KeyFile, CAFile: t.CAFile, ServerName: t.ServerName, SkipVerify: t.SkipVerify}
	}
	if len(k.BindAddr) > 0 {
		m.Ring.BindAddr = k.BindAddr[0]
	}
	if m.TokensFile == "" {
		m.TokensFile = filepath.Join(c.Dir, "tokens")
	}
	if m.GatewayTokensFile == "" {
		m.GatewayTokensFile = filepath.Join(c.Dir, "index-gateway-tokens")
	}
	return m, true
}
