package loki_test

import (
	"context"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/thanos-io/objstore"

	"example.com/loki"
	"example.com/loki/compactor"
	"example.com/loki/internal/conformance"
	"example.com/loki/store"
)

// node is an engine with a gRPC server, as a process would have it.
type node struct {
	*loki.Engine
	server *loki.Server
	served chan error
}

// start runs an engine and its server on a listener until the test ends.
func (c *cluster) start(t *testing.T, name string, l net.Listener, targets ...loki.Component) *node {
	t.Helper()
	eng, err := loki.NewTopology(loki.Config{
		Dir: t.TempDir(), Bucket: c.bucket, Limits: corpusLimits(), Name: name,
		Cluster: loki.Cluster{Addresses: c.addresses},
		Store:   store.Config{RefreshInterval: 200 * time.Millisecond},
		Deletes: compactor.ReaderConfig{Interval: 100 * time.Millisecond},
	}).Component(targets...).Build()
	if err != nil {
		t.Fatal(err)
	}
	server, err := eng.NewServer(loki.GRPC{})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Engine: eng, server: server, served: make(chan error, 1)}
	go func() { n.served <- server.Serve(l) }()
	t.Cleanup(func() { n.stop(t) })
	if err := eng.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *node) stop(t *testing.T) {
	t.Helper()
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	n.server.Shutdown(ctx)
	if err := <-n.served; err != nil {
		t.Error(err)
	}
}

// cluster is one node a component, which find each other at fixed addresses.
type cluster struct {
	bucket    objstore.Bucket
	addresses map[loki.Component]string
	nodes     map[loki.Component]*node
}

func components() []loki.Component {
	return []loki.Component{loki.IndexGateway, loki.Ingester, loki.Compactor, loki.Distributor, loki.QueryScheduler, loki.Querier, loki.QueryFrontend}
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	bucket, err := store.NewFilesystemBucket(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return newClusterOn(t, bucket)
}

func newClusterOn(t *testing.T, bucket objstore.Bucket) *cluster {
	t.Helper()
	c := &cluster{bucket: bucket, addresses: map[loki.Component]string{}, nodes: map[loki.Component]*node{}}
	listeners := map[loki.Component]net.Listener{}
	for _, name := range components() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[name] = l
		c.addresses[name] = l.Addr().String()
	}
	for _, name := range components() {
		c.nodes[name] = c.start(t, string(name), listeners[name], name)
	}
	return c
}

// ServeHTTP does what a load balancer in front of the cluster does.
func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	to := loki.QueryFrontend
	switch p := r.URL.Path; {
	case strings.HasSuffix(p, "/push"), strings.HasPrefix(p, "/otlp/"):
		to = loki.Distributor
	case p == "/flush":
		to = loki.Ingester
	}
	c.nodes[to].Handler().ServeHTTP(w, r)
}

// TestComponentsApart has each component in a node of its own, and asks what the corpus asks.
func TestComponentsApart(t *testing.T) {
	c := newCluster(t)
	conformance.Push(t, c)
	t.Run("head", func(t *testing.T) { conformance.Run(t, c, nil) })
	if err := c.nodes[loki.Ingester].Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Run("flushed", func(t *testing.T) { conformance.Run(t, c, regexp.MustCompile(`^(0|1|2)`)) })
	t.Run("without an index gateway", func(t *testing.T) {
		c.nodes[loki.IndexGateway].server.Stop()
		conformance.Run(t, c, regexp.MustCompile(`^(0[12]|1[0-9])`))
	})
}

// TestLonelyTargets checks what is said when a component can't be found.
func TestLonelyTargets(t *testing.T) {
	for _, c := range []loki.Component{loki.Distributor, loki.Querier, loki.QueryFrontend} {
		_, err := loki.NewTopology(loki.Config{Dir: t.TempDir()}).Component(c).Build()
		if err == nil || !strings.Contains(err.Error(), "Config.Cluster") {
			t.Errorf("%s alone: %v; want an error that says what to configure", c, err)
		}
	}
	_, err := loki.NewTopology(loki.Config{Dir: t.TempDir(), Cluster: loki.Cluster{Addresses: map[loki.Component]string{"quirier": "a:1"}}}).Build()
	if err == nil || !strings.Contains(err.Error(), "quirier") {
		t.Errorf("unknown component: %v", err)
	}
}
