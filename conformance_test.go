package loki_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/loki"
	"example.com/loki/cache"
	"example.com/loki/compactor"
	"example.com/loki/frontend"
	"example.com/loki/internal/conformance"
	"example.com/loki/limits"
	"example.com/loki/store"
)

// corpusLimits are those that the recorded answers assume: Loki's defaults, but for how much may be
// pushed and how old it may be.
func corpusLimits() limits.Provider {
	l := limits.Default()
	l.RejectOldSamples = false
	l.IngestionRateMB = 1000
	l.IngestionBurstSizeMB = 1000
	l.PerStreamRateLimit = 1e9
	l.PerStreamRateLimitBurst = 1e9
	l.MaxQueryLength = 0
	return limits.Fixed(l)
}

// TestConformance repeats recorded requests wherever the data may be: in the head, replayed, in
// segments, read from segments by a new engine, with entries of segments pushed again, and before, while and
// after segments are merged.
func TestConformance(t *testing.T) {
	dir := t.TempDir()
	var eng *loki.Engine
	reopen := func() {
		t.Helper()
		if eng != nil {
			if err := eng.Close(); err != nil {
				t.Fatal(err)
			}
		}
		var err error
		if eng, err = loki.Open(eager(loki.Config{Dir: dir, Limits: corpusLimits()})); err != nil {
			t.Fatal(err)
		}
	}
	defer func() { eng.Close() }()
	flush := func() {
		t.Helper()
		if err := eng.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	merged := func() {
		t.Helper()
		awaitMerged(t, eng, dir)
	}
	// Statistics and volumes come from indexes, which count what was stored twice twice.
	withoutVolumes := regexp.MustCompile(`^(0|1[0-79]|2|9)`)
	for _, state := range []struct {
		name  string
		enter func()
		only  *regexp.Regexp
	}{
		{"head", func() { reopen(); conformance.Push(t, eng.Handler()) }, nil},
		{"replayed", reopen, nil},
		{"flushed", flush, nil},
		{"pushed again", func() { conformance.Push(t, eng.Handler()) }, withoutVolumes},
		{"two segments of the same", flush, withoutVolumes},
		{"reopened without the catalog's cache", func() {
			if err := os.Remove(filepath.Join(dir, "catalog.db")); err != nil {
				t.Fatal(err)
			}
			reopen()
		}, withoutVolumes},
		{"merged", merged, nil},
		{"merged and reopened without the catalog's cache", func() {
			if err := os.Remove(filepath.Join(dir, "catalog.db")); err != nil {
				t.Fatal(err)
			}
			reopen()
		}, nil},
		{"merged and pushed again", func() { conformance.Push(t, eng.Handler()) }, withoutVolumes},
	} {
		state.enter()
		t.Run(state.name, func(t *testing.T) { conformance.Run(t, eng.Handler(), state.only) })
	}

	// Segments come and are merged without end while the requests are made.
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	passes := 0
	var merging sync.WaitGroup
	merging.Go(func() {
		for ; ctx.Err() == nil; passes++ {
			conformance.Push(t, eng.Handler())
			if err := errors.Join(eng.Flush(ctx), eng.Compact(ctx)); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	t.Run("merging", func(t *testing.T) { conformance.Run(t, eng.Handler(), withoutVolumes) })
	stop()
	merging.Wait()
	if passes < 2 {
		t.Errorf("%d passes of the compactor while the requests were made", passes)
	}
	flush()
	merged()
	t.Run("merged again", func(t *testing.T) { conformance.Run(t, eng.Handler(), nil) })
}

// eager returns a configuration whose compactor waits for nothing, and works when it is told to.
func eager(c loki.Config) loki.Config {
	c.Ingester.HandoverWindow = time.Millisecond // it is one process: all know of a segment at once
	c.Compactor.MinAge = 2 * time.Millisecond
	c.Compactor.Interval, c.Compactor.DeleteDelay, c.Compactor.CancelPeriod = -1, -1, -1
	c.Compactor.MinShare = 1 // it waits for nothing, whoever else is at work
	return c
}

// awaitMerged makes passes until all objects but the segments of one merge each are gone.
func awaitMerged(t *testing.T, eng *loki.Engine, dir string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		if err := eng.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		bucket, err := store.NewFilesystemBucket(filepath.Join(dir, "store"))
		if err != nil {
			t.Fatal(err)
		}
		report, err := compactor.Fsck(t.Context(), bucket, compactor.FsckOptions{Checksums: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Problems) > 0 {
			t.Fatal(report.Problems)
		}
		if report.Replaced == 0 && report.Segments == days {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after a minute of passes: %+v", report)
		}
	}
}

// days is over how many days the corpus reaches.
const days = 2

// TestConformanceWithCache repeats the requests, each state twice, with answers kept over all states. The cache
// begins empty, so each answer that is used was computed in one of them.
func TestConformanceWithCache(t *testing.T) {
	reg := prometheus.NewRegistry()
	kept, err := cache.New(cache.Config{}, reg)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	eng, err := loki.Open(eager(loki.Config{
		Dir: dir, Limits: corpusLimits(), Frontend: frontend.Config{Cache: kept, InstantCache: kept},
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer eng.Close()
	push := func() { conformance.Push(t, eng.Handler()) }
	flush := func() {
		if err := eng.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	queries := regexp.MustCompile(`^(0|1[0-79]|2|9)`) // lists are not kept
	for _, state := range []struct {
		name  string
		enter func()
	}{
		{"head", push},
		{"flushed", flush},
		{"pushed again", push},
		{"two segments of the same", flush},
		{"merged", func() { awaitMerged(t, eng, dir) }},
	} {
		state.enter()
		for _, time := range []string{"first", "second"} {
			t.Run(state.name+", "+time+" time", func(t *testing.T) { conformance.Run(t, eng.Handler(), queries) })
		}
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if hits := f.GetMetric()[0].GetCounter().GetValue(); f.GetName() == "loki_cache_hits_total" && hits < 1000 {
			t.Errorf("only %v pieces of answers were used again", hits)
		}
	}
}
