package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/internal/bench/yardstick"
)

// indexSets are sets of label sets of all shapes.
func indexSets() map[string][]labels.Labels {
	r := rand.New(rand.NewPCG(1, 2))
	make := func(n int, add func(b *labels.ScratchBuilder, i int)) []labels.Labels {
		var sets []labels.Labels
		for i := range n {
			var b labels.ScratchBuilder
			add(&b, i)
			b.Sort()
			sets = append(sets, b.Labels())
		}
		slices.SortFunc(sets, labels.Compare)
		return slices.CompactFunc(sets, labels.Equal)
	}
	return map[string][]labels.Labels{
		"none": nil,
		"one":  make(1, func(b *labels.ScratchBuilder, _ int) { b.Add("a", "b") }),
		"pods": make(1000, func(b *labels.ScratchBuilder, i int) {
			b.Add("app", fmt.Sprint("app-", i%7))
			b.Add("ns", fmt.Sprint("ns-", i%3))
			b.Add("pod", fmt.Sprintf("app-%d-%08x", i%7, r.Uint32()))
		}),
		"ids without order": make(1000, func(b *labels.ScratchBuilder, i int) {
			b.Add("a", fmt.Sprint(i))
			b.Add("id", fmt.Sprint(r.IntN(500)))
		}),
		"gaps": make(800, func(b *labels.ScratchBuilder, i int) {
			b.Add("x", fmt.Sprint(i))
			for _, name := range []string{"a", "b", "é"} {
				if r.IntN(3) == 0 {
					b.Add(name, strings.Repeat("é", r.IntN(40)+1))
				}
			}
		}),
		"long": make(300, func(b *labels.ScratchBuilder, i int) {
			b.Add("path", strings.Repeat("/very/long", 40+i%3)+fmt.Sprint(i))
		}),
		"many names": make(400, func(b *labels.ScratchBuilder, i int) {
			for range 1 + r.IntN(5) {
				n := fmt.Sprint("n", r.IntN(300))
				b.Add(n, fmt.Sprint(i))
				return
			}
		}),
	}
}

// TestIndex compares the index with a look at each label set.
func TestIndex(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for name, sets := range indexSets() {
		w := newIndexWriter()
		for _, ls := range sets {
			w.add(ls)
		}
		raw := w.finish()
		x, err := openIndex(raw, len(sets))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for n, ls := range sets {
			for range 2 {
				if h, err := x.hash(n); err != nil || h != labels.StableHash(ls) {
					t.Fatalf("%s: the hash of stream %d is %x instead of %x, %v", name, n, h, labels.StableHash(ls), err)
				}
				if s, err := x.stream(n); err != nil || !labels.Equal(s.Labels, ls) || s.Hash != labels.StableHash(ls) {
					t.Fatalf("%s: stream %d is %v instead of %s, %v", name, n, s, ls, err)
				}
			}
		}
		for range 300 {
			ms := randomMatchers(r, sets)
			var want []int
			names, values := map[string]bool{}, map[string]bool{}
			of := "app"
			for n, ls := range sets {
				if slices.ContainsFunc(ms, func(m *labels.Matcher) bool { return !m.Matches(ls.Get(m.Name)) }) {
					continue
				}
				want = append(want, n)
				ls.Range(func(l labels.Label) {
					names[l.Name] = true
					if l.Name == of {
						values[l.Value] = true
					}
				})
			}
			got, err := x.match(context.Background(), ms)
			if err != nil || !slices.Equal(slices.Collect(got.each()), want) || got.count() != len(want) {
				t.Fatalf("%s: %v: %d streams instead of %d, %v", name, ms, got.count(), len(want), err)
			}
			if got := x.labelNames(got); !slices.Equal(got, sortedKeys(names)) && len(want) > 0 {
				t.Fatalf("%s: %v: names %q instead of %q", name, ms, got, sortedKeys(names))
			}
			if got := x.labelValues(of, got); !slices.Equal(got, sortedKeys(values)) && len(want) > 0 {
				t.Fatalf("%s: %v: values %q instead of %q", name, ms, got, sortedKeys(values))
			}
		}
		for _, names := range [][]string{nil, {"app"}, {"none"}, {"app", "pod"}, {"namespace", "none", "pod"}} {
			g := x.group(names)
			before := labels.EmptyLabels()
			for n, ls := range sets {
				want := labels.NewBuilder(ls).Keep(names...).Labels()
				start, end := g.of(n)
				if start > n || end <= n || !labels.Equal(g.show(n).Labels, want) {
					t.Fatalf("%s: stream %d is in group [%d, %d) of %s, by %q that is %s", name, n, start, end, g.show(n).Labels, names, want)
				}
				if start == n && n > 0 && len(names) < 2 && labels.Equal(before, want) {
					t.Fatalf("%s: streams %d and %d are in different groups by %q", name, n-1, n, names)
				}
				before = want
			}
		}
		for n := range raw {
			if _, err := openIndex(raw[:n], len(sets)); err == nil {
				t.Fatalf("%s: an index of %d bytes is read though it ends after %d", name, len(raw), n)
			}
		}
	}
}

func randomMatchers(r *rand.Rand, sets []labels.Labels) (ms []*labels.Matcher) {
	types := []labels.MatchType{labels.MatchEqual, labels.MatchNotEqual, labels.MatchRegexp, labels.MatchNotRegexp}
	for range r.IntN(4) {
		name, value := "none", "x"
		if len(sets) > 0 && r.IntN(5) > 0 {
			i, n := 0, 0
			ls := sets[r.IntN(len(sets))]
			n = r.IntN(ls.Len())
			ls.Range(func(l labels.Label) {
				if i++; i-1 == n {
					name, value = l.Name, l.Value
				}
			})
		}
		typ := types[r.IntN(4)]
		switch k := r.IntN(6); {
		case k == 0:
			value = ""
		case typ >= labels.MatchRegexp && k == 1:
			value = ".+"
		case typ >= labels.MatchRegexp && k == 2:
			value = ".*1.*"
		case typ >= labels.MatchRegexp && k == 3:
			value += "|1|app-3"
		}
		ms = append(ms, labels.MustNewMatcher(typ, name, value))
	}
	return ms
}

// TestIndexSize holds what a stream costs in the index: little more than what tells it from others.
func TestIndexSize(t *testing.T) {
	c := newCodec(zstd.SpeedDefault)
	defer c.close()
	const streams = 50_000
	r := rand.New(rand.NewPCG(1, 2))
	var sets []labels.Labels
	for i := range streams {
		app := fmt.Sprintf("app%02d", i%10)
		sets = append(sets, labels.FromStrings("app", app, "namespace", fmt.Sprint("ns-", i%5), "pod",
			fmt.Sprintf("%s-%08x", app, r.Uint32()), "service_name", app))
	}
	slices.SortFunc(sets, labels.Compare)
	w := newIndexWriter()
	for _, ls := range sets {
		w.add(ls)
	}
	raw := w.finish()
	x, err := openIndex(raw, streams)
	if err != nil {
		t.Fatal(err)
	}
	// 32 random bits a name, of which the order among 5,000 of an application saves 11.
	stored, inMemory := float64(len(c.appendTable(nil, raw)))/streams, float64(x.memory())/streams
	if stored > 3.5 || inMemory > 36 {
		t.Errorf("a stream takes %.2f bytes stored and %.1f in memory", stored, inMemory)
	}
}

// BenchmarkIndex writes the index of a segment with many streams, opens it, and finds some of them.
func BenchmarkIndex(b *testing.B) {
	const streams = 20_000
	var sets []labels.Labels
	var size int64
	for i := range streams {
		app := fmt.Sprintf("app%02d", i%10)
		ls := labels.FromStrings("app", app, "namespace", fmt.Sprint("ns-", i%5), "pod", fmt.Sprintf("%s-%08x", app, uint32(i)*2654435761))
		size += int64(len(ls.String()))
		sets = append(sets, ls)
	}
	slices.SortFunc(sets, labels.Compare)
	var raw []byte
	b.Run("write", func(b *testing.B) {
		yardstick.Bytes(b, size)
		for b.Loop() {
			w := newIndexWriter()
			for _, ls := range sets {
				w.add(ls)
			}
			raw = w.finish()
		}
		b.ReportMetric(float64(len(raw))/streams, "bytes/stream")
	})
	b.Run("open", func(b *testing.B) {
		yardstick.Bytes(b, size)
		for b.Loop() {
			if _, err := openIndex(raw, streams); err != nil {
				b.Fatal(err)
			}
		}
	})
	x, err := openIndex(raw, streams)
	if err != nil {
		b.Fatal(err)
	}
	for _, m := range []*labels.Matcher{
		labels.MustNewMatcher(labels.MatchEqual, "app", "app03"),
		labels.MustNewMatcher(labels.MatchEqual, "pod", sets[streams/2].Get("pod")),
		labels.MustNewMatcher(labels.MatchRegexp, "pod", ".+-[0-9a-f]+7"),
	} {
		b.Run(fmt.Sprintf("match/%s%s", m.Name, m.Type), func(b *testing.B) {
			yardstick.Bytes(b, size)
			for b.Loop() {
				if _, err := x.match(b.Context(), []*labels.Matcher{m}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
