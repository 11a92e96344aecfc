package storetest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/grafana/dskit/user"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
	"example.com/loki/logql/column"
	"example.com/loki/store"
)

// Contract tests a store.Service. newService returns an empty one; it is called several times.
func Contract(t *testing.T, newService func(t *testing.T) store.Service) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s store.Service)
	}{
		{"Select", testSelect},
		{"Order", testOrder},
		{"Shared", testShared},
		{"Project", testProject},
		{"PartsAndKnown", testParts},
		{"Hints", testHints},
		{"Metadata", testMetadata},
		{"IndexQueries", testIndexQueries},
		{"PutTwice", testPutTwice},
		{"PutEmpty", testPutEmpty},
		{"PutBad", testPutBad},
		{"Tenants", testTenants},
		{"Cancel", testCancel},
		{"Concurrent", testConcurrent},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, newService(t)) })
	}
}

// Tenant returns a context of a tenant.
func Tenant(id string) context.Context { return user.InjectOrgID(context.Background(), id) }

// ID returns the nth of a row of ULIDs.
func ID(n int) ulid.ULID {
	var id ulid.ULID
	// The error is for times beyond the year 10889.
	_ = id.SetTime(uint64(1_700_000_000_000 + n))
	id[15] = byte(n)
	return id
}

// Generate returns entries of some streams over an hour from second 1000 on, always the same for a seed. There
// are multi-line and binary lines, equal times, and metadata of many kinds.
func Generate(seed uint64, streams, rows int) []Entry {
	r := rand.New(rand.NewPCG(seed, 1))
	var out []Entry
	for s := range streams {
		ls := labels.FromStrings("app", fmt.Sprintf("app%d", s%7), "instance", fmt.Sprintf("i%03d", s), "env", []string{"dev", "prod"}[s%2])
		if s%5 == 0 {
			ls = labels.FromStrings("app", fmt.Sprintf("app%d", s%7), "instance", fmt.Sprintf("i%03d", s))
		}
		unit := []int64{1, 1e3, 1e6, 1e9}[s%4]
		for i := range rows {
			e := Entry{Labels: ls, Time: 1000e9 + r.Int64N(3600e9)/unit*unit}
			switch r.IntN(8) {
			case 0:
				e.Line = ""
			case 1:
				e.Line = fmt.Sprintf("error %x\n\tat Main.java:%d\n", r.Uint64(), r.IntN(99))
			case 2:
				e.Line = string([]byte{0, byte(r.IntN(256)), 0xff, 0xc5, 0xbf, 'a'}) + fmt.Sprint(r.Uint32())
			default:
				e.Line = fmt.Sprintf("level=info msg=\"request done\" path=/api/v1/%s status=%d trace=%016x", strings.Repeat("ab", r.IntN(4)), 200+r.IntN(4), r.Uint64())
			}
			var md []string
			if s%3 == 0 {
				md = append(md, "trace_id", fmt.Sprintf("%032x", r.Uint64()))
			}
			if i%2 == 0 {
				md = append(md, "level", []string{"info", "warn", "error"}[r.IntN(3)])
			}
			if s%4 == 1 {
				md = append(md, "host", "one")
			}
			if r.IntN(50) == 0 {
				md = append(md, "odd", "\x00\xff", "uuid", fmt.Sprintf("%08x-1111-2222-3333-%012x", r.Uint32(), r.Uint32()))
			}
			e.Metadata = labels.FromStrings(md...)
			out = append(out, e)
		}
	}
	return out
}

// EachSecond returns n entries of one stream a second apart: so many that they are counted by the minute.
func EachSecond(n int) []Entry {
	var out []Entry
	for i := range n {
		out = append(out, Entry{Labels: labels.FromStrings("app", "clock"), Time: 1000e9 + int64(i)*1e9, Line: "tick"[:i%5]})
	}
	return out
}

// Put stores entries as a segment.
func Put(t testing.TB, ctx context.Context, s store.Service, id ulid.ULID, entries []Entry) store.SegmentInfo {
	t.Helper()
	info, err := s.Put(ctx, id, Rows(entries...))
	if err != nil {
		t.Fatalf("Put(%s): %v", id, err)
	}
	return info
}

// Collect runs a Select and returns the rows that lie in the time range, sorted by stream, time and
// place. It fails the test where batches break their contract.
func Collect(t testing.TB, ctx context.Context, s logql.Source, req *logql.SelectRequest) []Entry {
	t.Helper()
	var out []Entry
	var last *column.Batch
	for b, err := range s.Select(ctx, req) {
		if err != nil {
			t.Fatalf("Select: %v", err)
		}
		if last != nil && (req.Direction == logql.Forward && b.MinTime < last.MinTime || req.Direction == logql.Backward && b.MaxTime > last.MaxTime) {
			t.Errorf("batch %d..%d comes after %d..%d", b.MinTime, b.MaxTime, last.MinTime, last.MaxTime)
		}
		last = b
		got, err := BatchEntries(ctx, b)
		if err != nil {
			t.Fatalf("batch %s/%d: %v", b.Part, b.Page, err)
		}
		for _, e := range got {
			if req.Start <= e.Time && e.Time < req.End {
				out = append(out, e)
			}
		}
		b.Release()
	}
	slices.SortFunc(out, total)
	return out
}

// total orders entries by all that they have.
func total(a, b Entry) int {
	return cmp.Or(compareEntries(a, b), cmp.Compare(a.Line, b.Line), labels.Compare(a.Metadata, b.Metadata))
}

// Sorted returns entries in the order of Collect.
func Sorted(entries []Entry) []Entry {
	return slices.SortedFunc(slices.Values(entries), total)
}

// checkTotals compares what a batch knows of a run with its rows.
func checkTotals(ctx context.Context, b *column.Batch, r column.Run, times []int64, lengths []uint32) error {
	if b.Totals == nil {
		return nil
	}
	var bytes uint32
	for _, n := range lengths[r.From:r.To] {
		bytes += n
	}
	if n, ok := b.Totals.LineBytes(r.From, r.To); ok && n != int64(bytes) {
		return fmt.Errorf("run [%d, %d) of %d bytes; its lines have %d", r.From, r.To, n, bytes)
	}
	if _, ok := b.Totals.LineBytes(r.From, r.To-1); ok && !r.Mixed {
		return fmt.Errorf("bytes are known of a part of the run [%d, %d)", r.From, r.To)
	}
	m, ok, err := b.Totals.Minutes(ctx, r.From, r.To)
	if err != nil || !ok {
		return err
	}
	if n := column.MinuteOf(r.MaxTime) - m.First + 1; m.First != column.MinuteOf(r.MinTime) || int(n) != len(m.Rows) || int(n) != len(m.Bytes) {
		return fmt.Errorf("run from %d to %d: %d minutes from %d", r.MinTime, r.MaxTime, len(m.Rows), m.First)
	}
	rows, sums := make([]uint32, len(m.Rows)), make([]uint32, len(m.Rows))
	for row := r.From; row < r.To; row++ {
		i := column.MinuteOf(times[row]) - m.First
		rows[i]++
		sums[i] += lengths[row]
	}
	for i := range rows {
		if i > 0 {
			rows[i] += rows[i-1]
			sums[i] += sums[i-1]
		}
		if m.Rows[i] != rows[i] || m.Bytes[i] != sums[i] {
			return fmt.Errorf("run [%d, %d): %d rows and %d bytes until the end of its minute %d; they are %d and %d",
				r.From, r.To, m.Rows[i], m.Bytes[i], i, rows[i], sums[i])
		}
	}
	return nil
}

// BatchEntries returns copies of the rows in the runs of a batch, and checks what can be checked.
func BatchEntries(ctx context.Context, b *column.Batch) ([]Entry, error) {
	times, err := b.Times(ctx)
	if err != nil {
		return nil, err
	}
	lengths, err := b.LineLengths(ctx)
	if err != nil {
		return nil, err
	}
	lines, err := b.Lines(ctx)
	if err != nil {
		return nil, err
	}
	names, err := b.MetadataNames(ctx)
	if err != nil {
		return nil, err
	}
	if !slices.IsSorted(names) {
		return nil, fmt.Errorf("names are not sorted: %q", names)
	}
	cols := make([]column.Metadata, len(names))
	for i, n := range names {
		if cols[i], err = b.Metadata(ctx, n); err != nil {
			return nil, err
		}
	}
	if md, err := b.Metadata(ctx, "no such name"); err != nil || md.Index != nil {
		return nil, fmt.Errorf("Metadata of an unknown name: %v, %v", md, err)
	}
	if n := b.Rows(); len(times) != n || len(lengths) != n || len(lines.Offsets) != n+1 {
		return nil, fmt.Errorf("columns of %d, %d and %d rows; want %d", len(times), len(lengths), len(lines.Offsets)-1, n)
	}
	var out []Entry
	end := 0
	lo, hi := int64(math.MaxInt64), int64(math.MinInt64)
	for _, r := range b.Runs {
		if r.From < end || r.To <= r.From {
			return nil, fmt.Errorf("run [%d, %d) after row %d", r.From, r.To, end)
		}
		end = r.To
		if first, last := slices.Min(times[r.From:r.To]), slices.Max(times[r.From:r.To]); first < r.MinTime || last > r.MaxTime {
			return nil, fmt.Errorf("run from %d to %d; its rows are from %d to %d", r.MinTime, r.MaxTime, first, last)
		}
		lo, hi = min(lo, r.MinTime), max(hi, r.MaxTime)
		if err := checkTotals(ctx, b, r, times, lengths); err != nil {
			return nil, err
		}
		for i := r.From; i < r.To; i++ {
			if i > r.From && times[i] < times[i-1] && !r.Mixed {
				return nil, fmt.Errorf("row %d is earlier than the one before", i)
			}
			if int(lengths[i]) != len(lines.Row(i)) {
				return nil, fmt.Errorf("row %d has length %d and %d bytes", i, lengths[i], len(lines.Row(i)))
			}
			var md []string
			for k, c := range cols {
				if v, ok := c.Row(i); ok {
					md = append(md, names[k], string(v))
				}
			}
			out = append(out, Entry{Labels: r.Stream.Labels.Copy(), Time: times[i], Line: string(lines.Row(i)), Metadata: labels.FromStrings(md...)})
		}
	}
	if lo != b.MinTime || hi != b.MaxTime {
		return nil, fmt.Errorf("batch from %d to %d; its runs are from %d to %d", b.MinTime, b.MaxTime, lo, hi)
	}
	return out, nil
}

func matchers(t testing.TB, ms ...string) []*labels.Matcher {
	t.Helper()
	var out []*labels.Matcher
	for _, s := range ms {
		for op, typ := range map[string]labels.MatchType{"=~": labels.MatchRegexp, "!~": labels.MatchNotRegexp, "!=": labels.MatchNotEqual, "=": labels.MatchEqual} {
			name, value, ok := strings.Cut(s, op)
			if !ok || strings.ContainsAny(name, "!=~") || op == "=" && strings.HasPrefix(value, "~") {
				continue
			}
			out = append(out, labels.MustNewMatcher(typ, name, value))
		}
	}
	return out
}

func matching(entries []Entry, ms []*labels.Matcher, start, end int64) []Entry {
	var out []Entry
	for _, e := range entries {
		ok := start <= e.Time && e.Time < end
		for _, m := range ms {
			ok = ok && m.Matches(e.Labels.Get(m.Name))
		}
		if ok {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, total)
	return out
}

// Equal fails the test unless both are the same, in the same order.
func Equal(t testing.TB, what string, got, want []Entry) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: got %d rows, want %d", what, len(got), len(want))
		return
	}
	for i := range got {
		if total(got[i], want[i]) != 0 {
			t.Errorf("%s: row %d: got %+v, want %+v", what, i, got[i], want[i])
			return
		}
	}
}

const all = math.MaxInt64

func testSelect(t *testing.T, s store.Service) {
	ctx := Tenant("a")
	entries := Generate(1, 40, 200)
	info := Put(t, ctx, s, ID(1), entries[:5000])
	Put(t, ctx, s, ID(2), entries[5000:])
	if info.Rows != 5000 || info.Streams != 25 {
		t.Errorf("Put: %d rows of %d streams, want 5000 of 25", info.Rows, info.Streams)
	}
	for _, ms := range [][]string{
		{"app=app1"}, {"app=~app1|app2"}, {"app=~app.*"}, {"app!=app1", "instance=~.+"}, {"app=~.+", "env="}, {"env!="},
		{"app!~app(1|2)", "instance!="}, {"instance=i003"}, {"app=nothing"}, {"instance=~i0.*5"}, {"env=~|prod", "app=app3"}, {},
	} {
		for _, r := range [][2]int64{{0, all}, {1000e9, 1600e9}, {2000e9, 2000e9 + 1}, {5e12, 6e12}} {
			for _, dir := range []logql.Direction{logql.Backward, logql.Forward} {
				m := matchers(t, ms...)
				got := Collect(t, ctx, s, &logql.SelectRequest{Matchers: m, Start: r[0], End: r[1], Direction: dir})
				Equal(t, fmt.Sprintf("%v %v %s", ms, r, dir), got, matching(entries, m, r[0], r[1]))
			}
		}
	}
}

// testOrder checks that rows of a stream with equal times stay in the order of arrival.
func testOrder(t *testing.T, s store.Service) {
	ctx := Tenant("a")
	var entries []Entry
	for i := range 3000 {
		entries = append(entries, Entry{Labels: labels.FromStrings("app", "x"), Time: int64(i / 100), Line: fmt.Sprintf("%06d %s", i, strings.Repeat("z", 500))})
	}
	Put(t, ctx, s, ID(1), entries)
	n := 0
	for b, err := range s.Select(ctx, &logql.SelectRequest{Start: 0, End: all, Direction: logql.Forward}) {
		if err != nil {
			t.Fatal(err)
		}
		got, err := BatchEntries(ctx, b)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range got {
			if e.Line != entries[n].Line {
				t.Fatalf("row %d is %.6s", n, e.Line)
			}
			n++
		}
		b.Release()
	}
	if n != len(entries) {
		t.Errorf("%d rows, want %d", n, len(entries))
	}
}

func testShared(t *testing.T, s store.Service) {
	ctx := Tenant("a")
	entry := func(app string, times ...int64) (out []Entry) {
		for _, ts := range times {
			out = append(out, Entry{Labels: labels.FromStrings("app", app), Time: ts, Line: "x"})
		}
		return out
	}
	Put(t, ctx, s, ID(1), slices.Concat(entry("apart", 10, 20), entry("overlap", 10, 20), entry("touch", 10, 20)))
	Put(t, ctx, s, ID(2), slices.Concat(entry("apart", 21, 30), entry("overlap", 15, 17), entry("touch", 20, 30), entry("alone", 10, 20)))
	want := map[string]bool{"apart": false, "overlap": true, "touch": true, "alone": false}
	check := func(req *logql.SelectRequest, want map[string]bool) {
		t.Helper()
		for b, err := range s.Select(ctx, req) {
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range b.Runs {
				if app := r.Stream.Labels.Get("app"); r.Shared != want[app] {
					t.Errorf("%s in %s: Shared is %v", app, b.Part, r.Shared)
				}
			}
			b.Release()
		}
	}
	check(&logql.SelectRequest{Start: 0, End: all}, want)
	check(&logql.SelectRequest{Start: 0, End: all, Parts: []string{ID(1).String()}}, nil)
	check(&logql.SelectRequest{Start: 0, End: all, Known: []string{ID(2).String()}}, nil)
}

// testProject reads streams by some of their labels.
func testProject(t *testing.T, s store.Service) {
	ctx := Tenant("a")
	var entries []Entry
	for i := range 4000 { // few rows of many streams in some minutes, so that pages have counts
		entries = append(entries, Entry{
			Labels: labels.FromStrings("app", fmt.Sprintf("few%d", i%3), "instance", fmt.Sprintf("j%04d", i%1000)),
			Time:   1000e9 + int64(i)*100e6, Line: strings.Repeat("x", i%50),
		})
	}
	first, second := slices.Concat(Generate(1, 40, 60), EachSecond(400), entries), Generate(2, 20, 40)
	for i := range second {
		second[i].Time += 1800e9 // half of it lies before the end of the first
	}
	for i := range 6000 { // a row or two of many streams, at all times; some are in both
		e := Entry{
			Labels: labels.FromStrings("app", fmt.Sprintf("wide%d", i%3), "instance", fmt.Sprintf("w%04d", i%4500)),
			Time:   int64(i) * 7919 % 4000 * 1e9, Line: fmt.Sprint("wide ", i),
		}
		switch {
		case e.Time > 2500e9:
			second = append(second, e)
		case e.Time > 1900e9 && i%4 == 0:
			e.Line = fmt.Sprint("copy ", i)
			first, second = append(first, e), append(second, e)
		default:
			first = append(first, e)
		}
	}
	Put(t, ctx, s, ID(1), first)
	Put(t, ctx, s, ID(2), second)
	mixed := false
	for _, names := range [][]string{{}, {"app"}, {"instance"}, {"none"}, {"app", "env"}} {
		for _, req := range []logql.SelectRequest{
			{End: all},
			{Start: 1200e9, End: 3000e9},
			{End: all, Matchers: matchers(t, "instance=~i0[0-2].|j.*1")},
			{End: all, Contains: []logql.Needle{{Text: "error"}}},
			{End: all, Project: &logql.Projection{ApartFrom: 1500e9, ApartThrough: 1600e9}},
		} {
			what := fmt.Sprintf("%q of %d to %d, %v", names, req.Start, req.End, req.Matchers)
			var want []Entry
			whole := req
			whole.Project = nil
			for b, err := range s.Select(ctx, &whole) {
				if err == nil {
					var got []Entry
					got, err = BatchEntries(ctx, b)
					want = append(want, matching(got, nil, req.Start, req.End)...)
					b.Release()
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			for i := range want {
				want[i].Labels = labels.NewBuilder(want[i].Labels).Keep(names...).Labels()
			}
			p := logql.Projection{Names: names}
			if req.Project != nil {
				p.ApartFrom, p.ApartThrough = req.Project.ApartFrom, req.Project.ApartThrough
			}
			req.Project = &p
			var got []Entry
			for b, err := range s.Select(ctx, &req) {
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range b.Runs {
					whole := r.Stream.Labels.Has("instance") || r.Stream.Labels.Get("app") == "clock"
					apart := r.Shared || r.MinTime < p.ApartThrough && r.MaxTime >= p.ApartFrom
					if apart && (!whole || r.Mixed) {
						t.Errorf("%s: run from %d to %d of %s, Mixed is %v, Shared is %v", what, r.MinTime, r.MaxTime, r.Stream.Labels, r.Mixed, r.Shared)
					}
					mixed = mixed || r.Mixed
					if r.Shared {
						continue
					}
					lines, err := b.Lines(ctx)
					if err != nil {
						t.Fatal(err)
					}
					for row := r.From; row < r.To; row++ {
						if bytes.HasPrefix(lines.Row(row), []byte("copy ")) {
							t.Errorf("%s: %q of %s is not shared", what, lines.Row(row), r.Stream.Labels)
						}
					}
				}
				some, err := BatchEntries(ctx, b)
				b.Release()
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				got = append(got, matching(some, nil, req.Start, req.End)...)
			}
			for i := range got {
				got[i].Labels = labels.NewBuilder(got[i].Labels).Keep(names...).Labels()
			}
			Equal(t, what, Sorted(got), Sorted(want))
		}
	}
	if !mixed {
		t.Log("no streams were joined") // a store need not
	}
}

func testParts(t *testing.T, s store.Service) {
	ctx := Tenant("a")
	a, b := Generate(1, 3, 10), Generate(2, 3, 10)
	Put(t, ctx, s, ID(1), a)
	Put(t, ctx, s, ID(2), b)
	for _, test := range []struct {
		parts, known []string
		want         []Entry
	}{
		{nil, nil, slices.Concat(a, b)},
		{[]string{}, nil, nil},
		{[]string{ID(1).String()}, nil, a},
		{nil, []string{ID(1).String(), ID(9).String()}, b},
		{[]string{ID(1).String(), ID(2).String()}, []string{ID(2).String()}, a},
	} {
		got := Collect(t, ctx, s, &logql.SelectRequest{End: all, Parts: test.parts, Known: test.known})
		Equal(t, fmt.Sprintf("parts %v, known %v", test.parts, test.known), got, matching(test.want, nil, 0, all))
	}
	infos, err := s.Segments(ctx, 0, all)
	if err != nil || len(infos) != 2 || infos[0].ID != ID(1) || infos[1].ID != ID(2) {
		t.Errorf("Segments = %v, %v", infos, err)
	}
	if infos, err := s.Segments(ctx, 0, 1000); err != nil || len(infos) != 0 {
		t.Errorf("Segments before all rows = %v, %v", infos, err)
	}
}

// testHints checks that hints never lose a row.
func testHints(t *testing.T, s store.Service) {
	ctx := Tenant("a")
	entries := Generate(3, 15, 100)
	Put(t, ctx, s, ID(1), entries)
	r := rand.New(rand.NewPCG(5, 5))
	for range 100 {
		e := entries[r.IntN(len(entries))]
		if len(e.Line) == 0 {
			continue
		}
		from := r.IntN(len(e.Line))
		n := logql.Needle{Text: e.Line[from : from+1+r.IntN(len(e.Line)-from)]}
		want := func(e Entry) bool { return strings.Contains(e.Line, n.Text) }
		if r.IntN(2) == 0 {
			n.FoldCase = true
			n.Text = strings.ToUpper(n.Text)
			want = func(e Entry) bool { return strings.Contains(strings.ToUpper(e.Line), n.Text) }
		}
		got := Collect(t, ctx, s, &logql.SelectRequest{End: all, Contains: []logql.Needle{n}})
		got = slices.DeleteFunc(got, func(e Entry) bool { return !want(e) })
		exp := slices.DeleteFunc(matching(entries, nil, 0, all), func(e Entry) bool { return !want(e) })
		Equal(t, fmt.Sprintf("needle %q", n.Text), got, exp)
	}
	for range 100 {
		e := entries[r.IntN(len(entries))]
		names := []string{"trace_id", "level", "host", "app", "odd"}
		m := labels.MustNewMatcher(labels.MatchEqual, names[r.IntN(len(names))], "")
		if m.Value = e.Metadata.Get(m.Name); m.Value == "" {
			m.Value = e.Labels.Get(m.Name)
		}
		keep := func(e Entry) bool {
			if e.Metadata.Has(m.Name) {
				return e.Metadata.Get(m.Name) == m.Value
			}
			return e.Labels.Get(m.Name) == m.Value
		}
		got := Collect(t, ctx, s, &logql.SelectRequest{End: all, Metadata: []*labels.Matcher{m}})
		got = slices.DeleteFunc(got, func(e Entry) bool { return !keep(e) })
		exp := slices.DeleteFunc(matching(entries, nil, 0, all), func(e Entry) bool { return !keep(e) })
		Equal(t, m.String(), got, exp)
	}
}

// testMetadata stores more names than a page has columns for.
func testMetadata(t *testing.T, s store.Service) {
	ctx := Tenant("a")
	var entries []Entry
	for i := range 700 {
		md := []string{"every", fmt.Sprint(i)}
		for k := range i % 4 {
			md = append(md, fmt.Sprintf("rare_%d", i*4+k), strings.Repeat("v", i%9))
		}
		entries = append(entries, Entry{Labels: labels.FromStrings("app", "x"), Time: int64(i), Line: "l", Metadata: labels.FromStrings(md...)})
	}
	Put(t, ctx, s, ID(1), entries)
	got := Collect(t, ctx, s, &logql.SelectRequest{End: all})
	Equal(t, "many names", got, matching(entries, nil, 0, all))
}

func testIndexQueries(t *testing.T, s store.Service) {
	ctx := Tenant("a")
	entries := Generate(1, 20, 20)
	Put(t, ctx, s, ID(1), entries[:300])
	Put(t, ctx, s, ID(2), entries[200:])
	for _, ms := range [][]string{{}, {"app=app1"}, {"env=prod", "app=~app[12]"}, {"env=", "app=~.+"}, {"app=none"}} {
		m := matchers(t, ms...)
		names, values, series := map[string]bool{}, map[string]bool{}, map[string]bool{}
		var entriesWant, bytesWant int64
		for _, e := range slices.Concat(matching(entries[:300], m, 0, all), matching(entries[200:], m, 0, all)) {
			e.Labels.Range(func(l labels.Label) { names[l.Name] = true })
			values[e.Labels.Get("instance")] = true
			series[e.Labels.String()] = true
			entriesWant++
			bytesWant += int64(len(e.Line))
			e.Metadata.Range(func(l labels.Label) { bytesWant += int64(len(l.Value) + 3) })
		}
		gotNames, err := s.Labels(ctx, 0, all, m)
		checkList(t, fmt.Sprint("Labels ", ms), gotNames, err, names)
		gotValues, err := s.LabelValues(ctx, "instance", 0, all, m)
		checkList(t, fmt.Sprint("LabelValues ", ms), gotValues, err, values)
		gotSeries, err := s.Series(ctx, 0, all, m)
		var list []string
		for _, ls := range gotSeries {
			list = append(list, ls.String())
		}
		checkList(t, fmt.Sprint("Series ", ms), list, err, series)
		if !slices.IsSortedFunc(gotSeries, labels.Compare) {
			t.Errorf("Series %v: not sorted", ms)
		}
		vs, err := s.Volumes(ctx, 0, all, m, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		var n, bytes int64
		for _, v := range vs {
			n += v.Entries
			bytes += v.Bytes
		}
		if len(vs) != len(series) || n != entriesWant || bytes != bytesWant {
			t.Errorf("Volumes %v: %d streams, %d entries, %d bytes; want %d, %d, %d", ms, len(vs), n, bytes, len(series), entriesWant, bytesWant)
		}
		for _, by := range [][]string{{}, {"app"}, {"env", "instance"}, {"none"}} {
			for _, end := range []int64{all, 2800e9} {
				vs, err := s.Volumes(ctx, 1000e9, end, m, nil, nil)
				if err != nil {
					t.Fatal(err)
				}
				want := sortStreams(logql.GroupVolumes(vs, by))
				got, err := s.Volumes(ctx, 1000e9, end, m, by, nil)
				if err != nil || !reflect.DeepEqual(sortStreams(got), want) && len(want) > 0 {
					t.Errorf("Volumes %v by %q: %v, %v, want %v", ms, by, got, err, want)
				}
			}
		}
	}
	one := []string{ID(1).String()}
	if vs, err := s.Volumes(ctx, 0, all, nil, nil, one); err != nil || len(vs) != 15 {
		t.Errorf("Volumes of one part: %d streams, %v", len(vs), err)
	}
	if vs, err := s.Volumes(ctx, 5e12, 6e12, nil, nil, nil); err != nil || len(vs) != 0 {
		t.Errorf("Volumes after all rows: %v, %v", vs, err)
	}
	half, err := s.Volumes(ctx, 1000e9, 2800e9, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	for _, v := range half {
		n += v.Entries
	}
	if n < 200 || n > 300 {
		t.Errorf("Volumes of half the time: %d entries of 500", n)
	}
}

func checkList(t *testing.T, what string, got []string, err error, want map[string]bool) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	seen := make(map[string]bool)
	for _, g := range got {
		if !want[g] || seen[g] {
			t.Errorf("%s: got %q, want %v", what, got, want)
			return
		}
		seen[g] = true
	}
	if len(seen) != len(want) {
		t.Errorf("%s: got %q, want %v", what, got, want)
	}
}

func testPutTwice(t *testing.T, s store.Service) {
	ctx := Tenant("a")
	if ok, err := s.Exists(ctx, ID(1)); ok || err != nil {
		t.Errorf("Exists before Put: %v, %v", ok, err)
	}
	first := Put(t, ctx, s, ID(1), Generate(1, 2, 10))
	second := Put(t, ctx, s, ID(1), Generate(2, 5, 10))
	if !reflect.DeepEqual(first, second) {
		t.Errorf("second Put: %+v, first: %+v", second, first)
	}
	if ok, err := s.Exists(ctx, ID(1)); !ok || err != nil {
		t.Errorf("Exists: %v, %v", ok, err)
	}
	Equal(t, "after two Puts", Collect(t, ctx, s, &logql.SelectRequest{End: all}), matching(Generate(1, 2, 10), nil, 0, all))
}

func testPutEmpty(t *testing.T, s store.Service) {
	ctx := Tenant("a")
	if info := Put(t, ctx, s, ID(1), nil); info.Rows != 0 {
		t.Errorf("Put of nothing: %+v", info)
	}
	if ok, err := s.Exists(ctx, ID(1)); !ok || err != nil {
		t.Errorf("Exists: %v, %v", ok, err)
	}
	if got := Collect(t, ctx, s, &logql.SelectRequest{End: all}); len(got) > 0 {
		t.Errorf("rows from nothing: %v", got)
	}
}

func testPutBad(t *testing.T, s store.Service) {
	ctx := Tenant("a")
	good := streamRows([]Entry{{Labels: labels.FromStrings("app", "b"), Time: 2, Line: "x"}})
	stop := errors.New("stop")
	for name, rows := range map[string]store.Rows{
		"streams": func(yield func(*store.StreamRows, error) bool) {
			if yield(good, nil) {
				yield(good, nil)
			}
		},
		"times": func(yield func(*store.StreamRows, error) bool) {
			yield(&store.StreamRows{Labels: good.Labels, Times: []int64{2, 1}, Lines: column.Lines{Offsets: []uint32{0, 0, 0}}}, nil)
		},
		"error": func(yield func(*store.StreamRows, error) bool) { _ = yield(good, nil) && yield(nil, stop) },
	} {
		want := store.ErrInput
		if name == "error" {
			want = stop
		}
		if _, err := s.Put(ctx, ID(1), rows); !errors.Is(err, want) {
			t.Errorf("%s: Put = %v, want %v", name, err, want)
		}
		if ok, err := s.Exists(ctx, ID(1)); ok || err != nil {
			t.Errorf("%s: Exists after a failed Put: %v, %v", name, ok, err)
		}
	}
}

func testTenants(t *testing.T, s store.Service) {
	ids := []string{"a", "A", "b.c", "..", "con", "a/b", "日本", "a%b", strings.Repeat("x", 150)}
	for i, id := range ids {
		Put(t, Tenant(id), s, ID(i), []Entry{{Labels: labels.FromStrings("t", id), Time: 1, Line: id}})
	}
	for _, id := range ids {
		got := Collect(t, Tenant(id), s, &logql.SelectRequest{End: all})
		if len(got) != 1 || got[0].Line != id {
			t.Errorf("tenant %q: %v", id, got)
		}
	}
	if _, err := s.Segments(context.Background(), 0, all); !errors.Is(err, store.ErrTenant) {
		t.Errorf("Segments without tenant: %v", err)
	}
	if _, err := s.Put(context.Background(), ID(1), Rows()); !errors.Is(err, store.ErrTenant) {
		t.Errorf("Put without tenant: %v", err)
	}
}

func testCancel(t *testing.T, s store.Service) {
	ctx, cancel := context.WithCancel(Tenant("a"))
	defer cancel()
	entries := Generate(1, 10, 10)
	Put(t, ctx, s, ID(1), entries[:50])
	Put(t, ctx, s, ID(2), entries[50:])
	var batch *column.Batch
	for b, err := range s.Select(ctx, &logql.SelectRequest{End: all}) {
		if batch == nil && err == nil {
			batch = b
			cancel()
			continue
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("after cancel: %v", err)
		}
	}
	if batch == nil {
		t.Fatal("no batch")
	}
	if _, err := batch.Lines(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Lines after cancel: %v", err)
	}
	batch.Release()
}

func testConcurrent(t *testing.T, s store.Service) {
	ctx := Tenant("a")
	entries := Generate(1, 20, 200)
	for i := range 4 {
		Put(t, ctx, s, ID(i), entries[i*1000:(i+1)*1000])
	}
	want := matching(entries, nil, 0, all)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for b, err := range s.Select(ctx, &logql.SelectRequest{End: all}) {
				if err != nil {
					t.Error(err)
					return
				}
				var users sync.WaitGroup
				for range 3 {
					users.Go(func() {
						if _, err := BatchEntries(ctx, b); err != nil {
							t.Error(err)
						}
					})
				}
				users.Wait()
				b.Release()
			}
			Equal(t, "concurrent", Collect(t, ctx, s, &logql.SelectRequest{End: all}), want)
		})
	}
	wg.Wait()
}

// sortStreams sorts what volumes say of streams, without repetition.
func sortStreams(vs []logql.StreamVolume) []logql.StreamVolume {
	for i := range vs {
		slices.Sort(vs[i].Streams)
		vs[i].Streams = slices.Compact(vs[i].Streams)
	}
	return vs
}
