package loki_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"example.com/loki"
	"example.com/loki/internal/conformance"
	"example.com/loki/limits"
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
// segments, read from segments by a new engine, and with entries of segments pushed again.
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
		if eng, err = loki.Open(loki.Config{Dir: dir, Limits: corpusLimits()}); err != nil {
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
	} {
		state.enter()
		t.Run(state.name, func(t *testing.T) { conformance.Run(t, eng.Handler(), state.only) })
	}
}
