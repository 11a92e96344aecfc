package ingester

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
)

// TestMatchHead compares the index with a look at each stream, while streams are added.
func TestMatchHead(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	p := newPart(ulid.ULID{1}, time.Unix(0, 0))
	tn := &tenant{open: p}
	add := func() {
		var b labels.ScratchBuilder
		b.Add("app", fmt.Sprintf("app-%d", r.IntN(5)))
		if r.IntN(2) == 0 {
			b.Add("env", []string{"dev", "prod"}[r.IntN(2)])
		}
		b.Add("pod", fmt.Sprintf("%x", len(p.streams)))
		p.add(labels.StableHash(b.Labels()), b.Labels(), p.nextRef, 0)
	}
	types := []labels.MatchType{labels.MatchEqual, labels.MatchNotEqual, labels.MatchRegexp, labels.MatchNotRegexp}
	values := []string{"", "app-1", "dev", "prod|dev", "app-1|app-3|none", ".+", ".*", "app-[12]", "1f", "1.", "none"}
	names := []string{"app", "env", "pod", "none"}
	for range 400 {
		for range r.IntN(20) {
			add()
		}
		var ms []*labels.Matcher
		for range r.IntN(4) {
			ms = append(ms, labels.MustNewMatcher(types[r.IntN(4)], names[r.IntN(4)], values[r.IntN(len(values))]))
		}
		var want []uint32
		for n, s := range p.streams {
			if !slices.ContainsFunc(ms, func(m *labels.Matcher) bool { return !m.Matches(s.Labels.Get(m.Name)) }) {
				want = append(want, uint32(n))
			}
		}
		got, err := p.match(context.Background(), tn, ms)
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("%v of %d streams: %d match instead of %d, %v", ms, len(p.streams), len(got), len(want), err)
		}
	}
}
