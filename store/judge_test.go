package store

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/grafana/dskit/services"
	"github.com/grafana/dskit/user"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/thanos-io/objstore"

	"example.com/loki/logql"
	"example.com/loki/logql/column"
)

var copySeeds = flag.Int("copies", 30, "how many worlds TestCopies tries")

// copyRow is a row of a test.
type copyRow struct {
	stream int
	time   int64
	line   string
	meta   string
}

func copyStream(n int) labels.Labels {
	return labels.FromStrings("app", fmt.Sprint(n%2), "pod", fmt.Sprint(n))
}

// copyRows makes what a writer puts of rows.
func copyRows(rows []copyRow) Rows {
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b copyRow) int {
		return cmp.Or(labels.Compare(copyStream(a.stream), copyStream(b.stream)), cmp.Compare(a.time, b.time))
	})
	var all []*StreamRows
	for i, r := range rows {
		if i == 0 || rows[i-1].stream != r.stream {
			all = append(all, &StreamRows{Labels: copyStream(r.stream), Lines: column.Lines{Offsets: []uint32{0}},
				Metadata: []NamedMetadata{{Name: "id"}}})
		}
		s := all[len(all)-1]
		s.Times = append(s.Times, r.time)
		s.Lines.Data = append(s.Lines.Data, r.line...)
		s.Lines.Offsets = append(s.Lines.Offsets, uint32(len(s.Lines.Data)))
		m := &s.Metadata[0]
		if r.meta == "" {
			m.Index = append(m.Index, 0)
			continue
		}
		m.Values = append(m.Values, []byte(r.meta))
		m.Index = append(m.Index, uint32(len(m.Values)))
	}
	return yieldAll(all)
}

// copyBucket is a bucket with segments of several writers.
type copyBucket struct {
	bucket objstore.Bucket
	ids    uint16
	page   int
}

var copyTenant = user.InjectOrgID(context.Background(), "a")

func (c *copyBucket) open(t testing.TB, writer string, digests bool) *Store {
	t.Helper()
	st, err := New(Config{Writer: writer, Digests: digests, PageBytes: c.page, RefreshInterval: -1}, c.bucket, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := services.StartAndAwaitRunning(context.Background(), st); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := services.StopAndAwaitTerminated(context.Background(), st); err != nil {
			t.Error(err)
		}
	})
	return st
}

func (c *copyBucket) id() ulid.ULID {
	c.ids++
	return ulid.ULID{14: byte(c.ids >> 8), 15: byte(c.ids)}
}

// put puts a segment and checks it.
func (c *copyBucket) put(t testing.TB, st *Store, rows []copyRow) SegmentInfo {
	t.Helper()
	info, err := st.Put(copyTenant, c.id(), copyRows(rows))
	if err != nil {
		t.Fatal(err)
	}
	seg, err := st.Open(copyTenant, info.ID)
	if err == nil {
		err = seg.Verify(copyTenant, nil)
		seg.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// fates are how many rows a source yielded, and how many of them are to be compared with others.
type fates struct{ rows, shared int }

// readCopies reads rows as a query does: those of shared runs count once, all others as often as they come.
func readCopies(t testing.TB, src logql.Source, req *logql.SelectRequest) (map[copyRow]int, fates) {
	t.Helper()
	ctx := copyTenant
	got := make(map[copyRow]int)
	seen := make(map[copyRow]bool)
	var f fates
	last := int64(-1 << 62)
	for b, err := range src.Select(ctx, req) {
		if err != nil {
			t.Fatal(err)
		}
		if b.MinTime < last {
			t.Fatalf("a batch from %d comes after one from %d", b.MinTime, last)
		}
		last = b.MinTime
		times, err := b.Times(ctx)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := b.Lines(ctx)
		if err != nil {
			t.Fatal(err)
		}
		md, err := b.Metadata(ctx, "id")
		if err != nil {
			t.Fatal(err)
		}
		before := 0
		for _, r := range b.Runs {
			if r.From < before || r.From >= r.To || r.Mixed && r.Shared {
				t.Fatalf("run [%d, %d) after row %d, Mixed %t, Shared %t", r.From, r.To, before, r.Mixed, r.Shared)
			}
			before = r.To
			m, ok, err := b.Totals.Minutes(ctx, r.From, r.To)
			if err != nil {
				t.Fatal(err)
			}
			if ok && int(m.Rows[len(m.Rows)-1]) != r.To-r.From {
				t.Fatalf("minutes of run [%d, %d) have %d rows", r.From, r.To, m.Rows)
			}
			for row := r.From; row < r.To; row++ {
				if times[row] < r.MinTime || times[row] > r.MaxTime {
					t.Fatalf("a row of %d in a run from %d to %d", times[row], r.MinTime, r.MaxTime)
				}
				if at := column.MinuteOf(times[row]) - m.First; ok && !r.Mixed && (int(m.Rows[at]) <= row-r.From || at > 0 && int(m.Rows[at-1]) > row-r.From) {
					t.Fatalf("row %d of run [%d, %d) is not in minute %d: %d", row, r.From, r.To, at, m.Rows)
				}
				if times[row] < req.Start || times[row] >= req.End || len(req.Contains) > 0 && !bytes.Contains(lines.Row(row), []byte(req.Contains[0].Text)) {
					continue
				}
				e := copyRow{time: times[row], line: string(lines.Row(row)), stream: -1}
				if v, ok := md.Row(row); ok {
					e.meta = string(v)
				}
				// Lines begin with the number of their stream.
				if _, err := fmt.Sscanf(e.line, "%d", &e.stream); err != nil {
					t.Fatal(err)
				}
				f.rows++
				if r.Shared {
					f.shared++
					if seen[e] {
						continue
					}
					seen[e] = true
				}
				got[e]++
			}
		}
		b.Release()
	}
	return got, f
}

func copyMinutes(n float64) int64 { return int64(n * float64(column.Minute)) }

// TestCopies puts copies of rows, with what may happen to them, and compares what is read where copies are told by digests
// with what is read where all rows are compared.
func TestCopies(t *testing.T) {
	var all, plain fates
	for seed := range uint64(*copySeeds) {
		r := rand.New(rand.NewPCG(seed, 4))
		c := &copyBucket{bucket: objstore.NewInMemBucket(), page: []int{4 << 10, 8 << 10, 1 << 20}[r.IntN(3)]}
		streams, length := 1+r.IntN(4), copyMinutes(float64(1+r.IntN(200)))
		begin := copyMinutes(float64(r.IntN(1000)-100)) + r.Int64N(100)
		var rows []copyRow
		unit := []int64{1, 1e6, 1e9, 60e9}[r.IntN(4)] // times that are whole seconds or minutes are often the same
		for range 20 + r.IntN(2500) {
			n := r.IntN(streams)
			e := copyRow{n, begin + r.Int64N(length)/unit*unit, fmt.Sprintf("%d line %d", n, r.IntN(5)), ""}
			if r.IntN(3) > 0 {
				e.meta = fmt.Sprint(r.IntN(3))
			}
			rows = append(rows, e)
		}
		late := r.Int64N(length/10 + 1) // how late rows come
		arrival := make(map[copyRow]int64)
		slices.SortFunc(rows, func(a, b copyRow) int {
			return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.stream, b.stream), cmp.Compare(a.line, b.line), cmp.Compare(a.meta, b.meta))
		})
		rows = slices.Compact(rows)
		truth := make(map[copyRow]int)
		for _, e := range rows {
			arrival[e] = e.time
			if r.IntN(20) == 0 {
				arrival[e] += r.Int64N(late + 1)
			}
		}
		slices.SortStableFunc(rows, func(a, b copyRow) int { return cmp.Compare(arrival[a], arrival[b]) })

		missing, doubles, replayed := r.IntN(3) == 0, r.IntN(4) == 0, r.IntN(3) == 0
		var infos []SegmentInfo
		var held [][]copyRow
		for w := range 1 + r.IntN(4) {
			st := c.open(t, fmt.Sprint("ingester-", w), r.IntN(10) > 0)
			gone := r.Int64N(length) // from then on for a while the writer is not there
			var part []copyRow
			flush := func() {
				if len(part) > 0 {
					infos = append(infos, c.put(t, st, part))
					held = append(held, part)
					part = nil
				}
			}
			cut := 1 + r.IntN(1+len(rows)/[]int{1, 3, 10, 30}[r.IntN(4)])
			for i, e := range rows {
				if missing && (r.IntN(200) == 0 || e.time-begin > gone && e.time-begin < gone+length/20) {
					continue
				}
				if i > 0 && i%cut == 0 {
					last := part
					flush()
					if replayed && len(last) > 0 {
						part = append(part, last[max(0, len(last)-1-r.IntN(20)):]...)
					}
				}
				part = append(part, e)
				truth[e] = 1
				if doubles && r.IntN(100) == 0 {
					part = append(part, e)
				}
			}
			flush()
		}
		if len(infos) > 1 && r.IntN(3) == 0 { // some are merged
			from := r.IntN(len(infos) - 1)
			to := from + 1 + r.IntN(len(infos)-from)
			var ids []ulid.ULID
			seen := make(map[copyRow]bool)
			var merged []copyRow
			for i := from; i < to; i++ {
				ids = append(ids, infos[i].ID)
				for _, e := range held[i] {
					if !seen[e] {
						seen[e] = true
						merged = append(merged, e)
					}
				}
			}
			if _, err := c.open(t, "", false).Rewrite(copyTenant, c.id(), copyRows(merged), RewriteOptions{Replaces: ids}); err != nil {
				t.Fatal(err)
			}
		}
		st := c.open(t, "", false)
		for k := range 6 {
			req := &logql.SelectRequest{Start: begin - 1, End: begin + length + 1, Direction: logql.Forward}
			if k > 0 {
				req.Start = begin + r.Int64N(length)
				req.End = req.Start + 1 + r.Int64N(length)
			}
			if r.IntN(2) == 0 {
				req.Project = &logql.Projection{Names: []string{"app"}}
			}
			if r.IntN(4) == 0 {
				req.Matchers = []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "app", "1")}
			}
			if r.IntN(4) == 0 {
				for _, i := range infos {
					if r.IntN(4) > 0 {
						req.Parts = append(req.Parts, i.ID.String())
					}
				}
			}
			if r.IntN(4) == 0 {
				req.Contains = []logql.Needle{{Text: "line 3"}}
			}
			want, p := readCopies(t, st, req)
			req.All = true
			got, f := readCopies(t, st, req)
			for e, n := range want {
				if got[e] != n {
					t.Fatalf("seed %d: %v is there %d times instead of %d, in %+v", seed, e, got[e], n, req)
				}
				if !doubles && (n != 1 || truth[e] != 1) {
					t.Fatalf("seed %d: %v is there %d times", seed, e, n)
				}
			}
			if len(got) != len(want) {
				t.Fatalf("seed %d: %d entries instead of %d", seed, len(got), len(want))
			}
			all.rows += f.rows
			all.shared += f.shared
			plain.rows += p.rows
			plain.shared += p.shared
		}
	}
	t.Logf("with digests %+v, without %+v", all, plain)
	if all.shared >= plain.shared || all.rows >= plain.rows || all.shared == 0 {
		t.Errorf("with digests %+v, without %+v", all, plain)
	}
}

// TestCopiesInGroups puts what decides about a span into segments that are planned in different groups: the first of two
// copies that are alike comes last in the first group, the second one first in the next group, and what only one
// writer has of the span, and makes them differ, later.
func TestCopiesInGroups(t *testing.T) {
	c := &copyBucket{bucket: objstore.NewInMemBucket(), page: pageRawTarget}
	rows := func(at float64, n int, line string) (rows []copyRow) {
		for i := range n {
			rows = append(rows, copyRow{0, copyMinutes(at) + int64(i+1), "0 " + line, ""})
		}
		return rows
	}
	a, b := c.open(t, "ingester-0", true), c.open(t, "ingester-1", true)
	for n := range firstOfAll - 1 {
		c.put(t, a, rows(float64(n), 1, "before"))
	}
	c.put(t, a, rows(100, 20, "x"))
	c.put(t, b, rows(100, 20, "x"))
	c.put(t, a, rows(100.5, 20, "y"))
	got, f := readCopies(t, c.open(t, "", false), &logql.SelectRequest{End: 1 << 60, Direction: logql.Forward, All: true})
	for e, n := range got {
		if n != 1 {
			t.Fatalf("%v is there %d times", e, n)
		}
	}
	if len(got) != firstOfAll-1+40 || f.shared == 0 {
		t.Errorf("%d entries, %+v", len(got), f)
	}
}
