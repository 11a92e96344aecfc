package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/loki/internal/crashtest/process"
)

// minAge is how long compactors leave new segments alone where layout.age says nothing. All processes have to know of them by
// then: they look every 10s, and on a busy machine late.
const minAge = 35 * time.Second

// metric adds up the series of a metric of a member's, or takes the one whose labels are given as well; found says that there
// are any.
func (m *member) metric(ctx context.Context, name string) (sum float64, found bool, err error) {
	status, page, err := process.Do(ctx, http.MethodGet, m.base().String()+"/metrics", "", nil)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("metrics of %s = %d", m.name, status)
	}
	if err != nil {
		return 0, false, err
	}
	for line := range strings.Lines(string(page)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		f, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]), 64)
		if err != nil {
			return 0, false, fmt.Errorf("%s of %s: %w", name, m.name, err)
		}
		sum, found = sum+f, true
	}
	return sum, found, nil
}

// merged waits until the compactors have merged what they can: all processes know the same segments, and what was written
// last, by whoever, is old enough to be merged and has not been.
func (c *cluster) merged(t *testing.T) {
	t.Helper()
	last, since := -1.0, time.Time{}
	untilWithin(t, 10*time.Minute, "segments are not merged", func(ctx context.Context) error {
		merges, counts := 0.0, map[float64][]string{}
		for m := range c.all() {
			n, _, err := m.metric(ctx, "loki_compactor_segments_merged_total")
			if err != nil {
				return err
			}
			merges += n
			n, found, err := m.metric(ctx, "loki_store_segments")
			if err != nil {
				return err
			}
			if found {
				counts[n] = append(counts[n], m.name)
			}
		}
		if merges != last {
			last, since = merges, time.Now()
		}
		switch {
		case merges == 0:
			return errors.New("no merge yet")
		case len(counts) != 1:
			return fmt.Errorf("numbers of segments and who knows of so many: %v", counts)
		case time.Since(since) < c.age+5*time.Second:
			return fmt.Errorf("the last merge is %s ago", time.Since(since))
		}
		return nil
	})
}
