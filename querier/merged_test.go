package querier

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/indexgw"
	"example.com/loki/logql"
	"example.com/loki/logql/column"
	"example.com/loki/store"
)

// counted is a source of batches of one run each. It knows how many are out.
type counted struct {
	name     string
	batches  []column.Run
	fail     error // after the batches
	overlaps []logql.Overlap
	asked    *logql.SelectRequest

	yielded, open int
}

func (c *counted) Select(_ context.Context, req *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	return func(yield func(*column.Batch, error) bool) {
		c.asked = req
		if req.Overlaps != nil && c.overlaps != nil {
			req.Overlaps(c.overlaps)
		}
		for i, r := range c.batches {
			c.yielded++
			c.open++
			b := &column.Batch{Runs: []column.Run{r}, MinTime: r.MinTime, MaxTime: r.MaxTime, Part: c.name, Page: i, Columns: releases{c: c}}
			if !yield(b, nil) {
				return
			}
		}
		if c.fail != nil {
			yield(nil, c.fail)
		}
	}
}

type releases struct {
	column.Columns
	c *counted
}

func (r releases) Release() { r.c.open-- }

// segments is an index of one segment, or of none.
type segments struct {
	indexgw.Service
	all []store.SegmentInfo
}

func (s segments) Segments(context.Context, int64, int64) ([]store.SegmentInfo, error) {
	return s.all, nil
}

func runs(app string, times ...int64) []column.Run {
	stream := column.NewStream(labels.FromStrings("app", app))
	var all []column.Run
	for i := 0; i < len(times); i += 2 {
		all = append(all, column.Run{Stream: stream, To: 1, MinTime: times[i], MaxTime: times[i+1]})
	}
	return all
}

// read returns the first batches that a merge yields.
func read(t *testing.T, m *merged, d logql.Direction, most int) ([]string, error) {
	t.Helper()
	var got []string
	for b, err := range m.Select(t.Context(), &logql.SelectRequest{End: 1000, Direction: d, Wants: &logql.Wants{}}) {
		if err != nil {
			return got, err
		}
		text := fmt.Sprintf("%s%d", b.Part, b.Page)
		if b.Runs[0].Shared {
			text += "+"
		}
		got = append(got, text)
		b.Release()
		if len(got) == most {
			break
		}
	}
	return got, nil
}

func TestMergeIsLazy(t *testing.T) {
	heads := &counted{name: "h", batches: runs("x", 90, 99, 80, 89, 70, 79, 60, 69, 40, 50, 0, 3), overlaps: []logql.Overlap{}}
	stored := &counted{name: "s", batches: runs("x", 50, 65, 30, 35, 10, 12)}
	m := &merged{fresh: &fresh{}, heads: heads, store: stored, index: segments{all: []store.SegmentInfo{{MinTime: 10, MaxTime: 65, Rows: 3}}}}
	check := func(what string, got, want any) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	got, err := read(t, m, logql.Backward, 2)
	check("two batches", got, "[h0 h1]")
	check("error", err, nil)
	if heads.yielded > 3 || stored.yielded > 0 {
		t.Errorf("for two batches the heads were asked for %d, the store for %d", heads.yielded, stored.yielded)
	}
	check("open batches", heads.open+stored.open, 0)
	if !heads.asked.Wants.Hashes {
		t.Error("the heads were not asked for hashes of what segments may hold too")
	}
	check("settled", m.settled, false)

	got, err = read(t, m, logql.Backward, -1)
	check("all batches", got, "[h0 h1 h2 h3+ s0 h4+ s1 s2 h5]")
	check("error", err, nil)
	check("open batches", heads.open+stored.open, 0)

	slices.Reverse(heads.batches)
	slices.Reverse(stored.batches)
	stream := heads.batches[0].Stream.Hash
	heads.overlaps = []logql.Overlap{{Stream: stream, MinTime: 60, MaxTime: 65}, {Stream: stream + 1, MinTime: 0, MaxTime: 99}, {Any: true, MinTime: 33, MaxTime: 34}}
	got, err = read(t, m, logql.Forward, -1)
	check("forward", got, "[h0 s0 s1+ h1+ s2+ h2+ h3 h4 h5]")
	check("error", err, nil)

	heads.overlaps = nil // not known
	got, _ = read(t, m, logql.Forward, -1)
	check("unknown overlaps", got, "[h0 s0+ s1+ h1+ s2+ h2+ h3 h4 h5]")

	heads.fail = errors.New("lost")
	heads.batches = heads.batches[:2]
	got, err = read(t, m, logql.Forward, -1)
	check("before the failure", got, "[h0 s0+ s1+ h1+]")
	if !errors.Is(err, heads.fail) {
		t.Errorf("error %v", err)
	}
	heads.batches = nil
	if _, err = read(t, m, logql.Forward, -1); !errors.Is(err, heads.fail) {
		t.Errorf("error %v", err)
	}
	check("open batches", heads.open+stored.open, 0)

	heads.fail = nil
	got, err = read(t, m, logql.Forward, -1)
	check("nothing in heads", got, "[s0 s1 s2]")
	check("error", err, nil)
	check("settled", m.settled, true)
}
