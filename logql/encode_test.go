package logql

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

func examplePartial() *Partial {
	a, b := labels.FromStrings("app", "api", "level", "info"), labels.FromStrings("app", "web")
	return &Partial{
		Stats:  Stats{Rows: 10, RowsKept: 5, Tasks: 1, ExecTime: time.Second, HeadBytes: 7},
		Source: "some\xffthing",
		entries: []entry{
			{labels: a, time: 20, line: "two"},
			{labels: b, time: 10, line: "", metadata: b, parsed: a},
			{labels: a, time: -5, line: "\x00\xff"},
		},
		series: []partialSeries{
			{labels: a, cells: []cellAt{{0, cell{n: 3}}, {7, cell{n: 1, a: 2.5, b: -1}}}},
			{labels: b, samples: []sample{{5, 1.5}, {3, -2}}},
			{labels: labels.EmptyLabels()},
		},
	}
}

func TestPartialTravels(t *testing.T) {
	for _, want := range []*Partial{examplePartial(), {}} {
		data, err := want.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var got Partial
		if err := got.UnmarshalBinary(data); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(&got, want) {
			t.Errorf("got  %+v\nwant %+v", got, *want)
		}
		for cut := range data {
			if err := new(Partial).UnmarshalBinary(data[:cut]); !errors.Is(err, ErrEncoding) {
				t.Fatalf("the first %d of %d bytes: error %v, want ErrEncoding", cut, len(data), err)
			}
		}
		if err := got.UnmarshalBinary(append(data, 0)); !errors.Is(err, ErrEncoding) {
			t.Errorf("a byte too many: error %v, want ErrEncoding", err)
		}
		data[0]++
		if err := got.UnmarshalBinary(data); !errors.Is(err, ErrEncoding) {
			t.Errorf("another version: error %v, want ErrEncoding", err)
		}
	}
}

// FuzzPartial checks that no bytes break decoding, and that what decodes, encodes to the same again.
func FuzzPartial(f *testing.F) {
	for _, p := range []*Partial{examplePartial(), {}} {
		data, err := p.MarshalBinary()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var p, q Partial
		if err := p.UnmarshalBinary(data); err != nil {
			if !errors.Is(err, ErrEncoding) {
				t.Fatal(err)
			}
			return
		}
		again, err := p.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if err := q.UnmarshalBinary(again); err != nil {
			t.Fatal(err)
		}
		third, err := q.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if string(third) != string(again) {
			t.Fatalf("%x became %x", again, third)
		}
	})
}

// FuzzFinish checks that a partial of anything cannot break the merge.
func FuzzFinish(f *testing.F) {
	data, err := examplePartial().MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data, uint8(0))
	f.Add(data, uint8(3))
	queries := []string{
		`sum by (app) (rate({app="api"}[1m]))`,
		`quantile_over_time(0.5, {app="api"} | unwrap v [5m])`,
		`topk(2, avg_over_time({app="api"} | unwrap v [90s]))`,
		`rate_counter({app="api"} | unwrap v [90s]) / ignoring (level) absent_over_time({app="api"}[1m])`,
		`{app="api"}`,
	}
	f.Fuzz(func(t *testing.T, data []byte, query uint8) {
		var part Partial
		if part.UnmarshalBinary(data) != nil {
			return
		}
		p, err := NewPlan(Params{Query: queries[int(query)%len(queries)], End: int64(time.Hour), Step: time.Minute, Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		all := make([][]*Partial, len(p.Leaves))
		for i := range all {
			all[i] = []*Partial{&part, examplePartial()}
		}
		p.Finish(t.Context(), all, Options{MaxMemory: 1 << 24})
	})
}
