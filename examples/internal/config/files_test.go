package config

import (
	"path/filepath"
	"slices"
	"testing"
)

// TestExampleFiles reads the configuration of every example as it is shipped: nothing in it may be without effect.
func TestExampleFiles(t *testing.T) {
	var files []string
	for _, pattern := range []string{"../../*/config.yaml", "../../microservices/*/config.yaml"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) != 10 {
		t.Errorf("found %d files, want those of monolithic, readwrite and eight microservices: %q", len(files), files)
	}
	for _, f := range files {
		c, err := Load([]string{"-config.file", f, "-config.expand-env"}, func(string) (string, bool) { return "", false })
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		if len(c.Ignored) > 0 {
			t.Errorf("%s sets what has no effect: %q", f, c.Ignored)
		}
	}
}

// TestFilesOfLoki reads files as people have them for Loki. They must work as they are, and whoever wrote them must be
// told what of it means nothing here.
func TestFilesOfLoki(t *testing.T) {
	for _, f := range []struct {
		name     string
		ignored  []string // some of them
		s3, ring bool
		check    func(c *Config) bool
	}{
		{"local", []string{"pattern_ingester.enabled", "limits_config.metric_aggregation_enabled"}, false, false,
			func(c *Config) bool {
				return c.StoreDir == "/tmp/loki/chunks" && c.Server.GRPCPort == 9096 && !c.AuthEnabled
			}},
		{"s3", []string{"compactor.working_directory", "memberlist.dead_node_reclaim_time"}, true, true,
			func(c *Config) bool { return c.Replication() == 3 && c.AuthEnabled && c.Compactor.RetentionEnabled }},
		{"chart", []string{"ingester.chunk_encoding", "storage_config.hedging.at"}, true, true,
			func(c *Config) bool {
				return c.Reading.Results.Enabled && c.RuntimeFile != "" && c.Bucket().Bucket == "chunks" && c.addresses()["index-gateway"] != ""
			}},
	} {
		c, err := Load([]string{"-config.file", filepath.Join("testdata", f.name+".yaml")}, nil)
		if err != nil {
			t.Errorf("%s: %v", f.name, err)
			continue
		}
		for _, name := range f.ignored {
			if !slices.Contains(c.Ignored, name) {
				t.Errorf("%s: %s has no effect, but is not among %q", f.name, name, c.Ignored)
			}
		}
		if c.UsesS3() != f.s3 || c.ringed() != f.ring || !f.check(c) {
			t.Errorf("%s: %+v", f.name, c)
		}
		t.Logf("%s: without effect: %q", f.name, c.Ignored)
	}
}
