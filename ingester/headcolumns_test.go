package ingester

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"example.com/loki/logql"
	"example.com/loki/logql/column"
)

// headBatches returns what rows of some streams make whose lines are of few letters, so that texts are
// found often, also across the ends of lines.
func headBatches(t testing.TB) []*column.Batch {
	i := start(t, Config{}, newMemStore())
	ctx := tenantCtx(t, "a")
	r := rand.New(rand.NewPCG(1, 2))
	at := int64(0)
	for range 20 {
		var all []Stream
		for s := range 3 {
			st := stream1(ls("env", "prod", "pod", fmt.Sprint(s)))
			for range r.IntN(20) {
				at++
				line := make([]byte, r.IntN(5))
				for k := range line {
					line[k] = 'a' + byte(r.IntN(2))
				}
				e := Entry{Time: at, Line: line}
				if r.IntN(2) == 0 {
					e.Metadata = []Field{{"z", []byte("1")}, {"b", []byte(fmt.Sprint(r.IntN(3)))}}
				}
				st.Entries = append(st.Entries, e)
			}
			all = append(all, st)
		}
		push(t, i, "a", all...)
	}
	var out []*column.Batch
	for b, err := range i.Select(ctx, everything("env=prod")) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

// plainColumns hide what columns can do besides.
type plainColumns struct{ column.Columns }

// TestHeadColumns compares what is found in place with what the lines say.
func TestHeadColumns(t *testing.T) {
	for _, texts := range [][]string{{"ab"}, {"aba", "bb"}, {"aaaa"}, {"a"}, {"c"}} {
		for _, b := range headBatches(t) {
			if b.Rows() < 100 {
				t.Fatalf("a batch of %d rows", b.Rows())
			}
			wanted := &column.Texts{}
			for _, s := range texts {
				wanted.Any = append(wanted.Any, []byte(s))
			}
			// These lines are too short to be searched in place, so that is not left to Search.
			cols := b.Columns.(*headColumns)
			if _, _, ok, err := cols.Search(t.Context(), wanted); err != nil || ok {
				t.Fatalf("search for %q: ok %v, %v", texts, ok, err)
			}
			rows := cols.search(wanted)
			found := cols.pick(rows)
			var odd []int32
			for n := 1; n < b.Rows(); n += 2 {
				odd = append(odd, int32(n))
			}
			picked, err := b.Columns.(column.LinePicker).PickLines(t.Context(), odd)
			if err != nil {
				t.Fatal(err)
			}
			lines, err := b.Lines(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var hashed, plain column.Hasher
			if err := hashed.Reset(t.Context(), b.Columns); err != nil {
				t.Fatal(err)
			}
			if err := plain.Reset(t.Context(), plainColumns{b.Columns}); err != nil {
				t.Fatal(err)
			}
			for n := range b.Rows() {
				line := lines.Row(n)
				want := slices.ContainsFunc(wanted.Any, func(s []byte) bool { return bytes.Contains(line, s) })
				if _, got := slices.BinarySearch(rows, int32(n)); got != want {
					t.Errorf("row %d, %q: found %v for %q", n, line, got, texts)
				}
				if want && !bytes.Equal(found.Row(n), line) {
					t.Errorf("row %d: found %q, want %q", n, found.Row(n), line)
				}
				if n%2 == 1 && !bytes.Equal(picked.Row(n), line) {
					t.Errorf("row %d: picked %q, want %q", n, picked.Row(n), line)
				}
				if got, want := hashed.Row(n), plain.Row(n); got != want {
					t.Errorf("row %d: hash %x, want %x", n, got, want)
				}
			}
			b.Release()
		}
	}
}

// TestRunsApart shows that only rows at times that other parts have too are marked.
func TestRunsApart(t *testing.T) {
	f := &found{shared: []interval{{min: 5, max: 7}}}
	req := &logql.SelectRequest{Since: 1, Until: 2, Overlaps: func([]logql.Overlap) {}}
	var rows []row
	for at := range int64(10) {
		rows = append(rows, row{time: at})
	}
	p := &page{holding: &holding{}, runs: []pageRun{{&found{stream: &stream{}, shared: f.shared}, rows}}, rows: len(rows)}
	var got []string
	for _, r := range p.batch(req, &headBuffers{}).Runs {
		got = append(got, fmt.Sprint(r.From, r.To, r.MinTime, r.MaxTime, r.Shared))
	}
	want := []string{"0 1 0 0 false", "1 3 1 2 false", "3 5 3 4 false", "5 8 5 7 true", "8 10 8 9 false"}
	if !slices.Equal(got, want) {
		t.Errorf("runs %q, want %q", got, want)
	}
}

// TestSearchInPlace: lines that adjoin are searched where they lie, and the next batch may use what Release gave back.
func TestSearchInPlace(t *testing.T) {
	i := start(t, Config{}, newMemStore())
	var all []Entry
	for n := range 300 {
		all = append(all, entry(int64(n), fmt.Sprintf("%0200d", n)))
	}
	push(t, i, "a", stream1(ls("env", "prod"), all...))
	texts := &column.Texts{Any: [][]byte{[]byte("00123"), []byte("0077")}}
	for range 3 {
		for b, err := range i.Select(tenantCtx(t, "a"), everything("env=prod")) {
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // what was found is kept
				rows, lines, ok, err := b.Columns.(column.Searcher).Search(t.Context(), texts)
				if err != nil || !ok || !slices.Equal(rows, []int32{77, 123}) {
					t.Fatalf("rows %d, ok %v, %v", rows, ok, err)
				}
				for _, n := range rows {
					if got, want := string(lines.Row(int(n))), fmt.Sprintf("%0200d", n); got != want {
						t.Errorf("row %d is %q", n, got)
					}
				}
			}
			b.Release()
		}
	}
}
