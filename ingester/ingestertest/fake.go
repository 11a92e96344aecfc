// Package ingestertest helps to test what talks to an ingester: a Fake, and the Contract that each
// implementation of ingester.Service passes.
package ingestertest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/grafana/dskit/user"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/ingester"
	"example.com/loki/logql"
	"example.com/loki/logql/column"
)

// Part is the name of the part in which a Fake has all its rows, until a Flush.
const Part = "01ARZ3NDEKTSV4RRFFQ69G5FAV"

// Fake is an ingester.Service that keeps everything in memory for ever, in plain slices. The zero value is
// ready. Its methods may be called from several goroutines.
type Fake struct {
	mu      sync.Mutex
	tenants map[string]*fakeTenant
	pushErr error
	flushes int
}

type fakeTenant struct {
	streams []*fakeStream // in the order of labels.Compare
	tails   []*fakeTail
}

type fakeStream struct {
	column.Stream
	entries []ingester.Entry // in the order of time, then arrival, without doubles
}

type fakeTail struct {
	matchers []*labels.Matcher
	batches  chan *ingester.TailBatch
}

var _ ingester.Service = (*Fake)(nil)

// Fail makes Push return err until it is called with nil.
func (f *Fake) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pushErr = err
}

// Flushes tells how often Flush was called.
func (f *Fake) Flushes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.flushes
}

// tenant returns the caller's tenant. f.mu must be held.
func (f *Fake) tenant(ctx context.Context) (*fakeTenant, error) {
	id, err := user.ExtractOrgID(ctx)
	if err != nil {
		return nil, fmt.Errorf("ingester: %w", err)
	}
	if f.tenants == nil {
		f.tenants = make(map[string]*fakeTenant)
	}
	if f.tenants[id] == nil {
		f.tenants[id] = &fakeTenant{}
	}
	return f.tenants[id], nil
}

// Push implements ingester.Service.
func (f *Fake) Push(ctx context.Context, req *ingester.PushRequest) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, err := f.tenant(ctx)
	if err != nil {
		return err
	}
	if f.pushErr != nil {
		return f.pushErr
	}
	for _, s := range req.Streams {
		if len(s.Entries) == 0 {
			continue
		}
		n, ok := slices.BinarySearchFunc(t.streams, s.Labels, func(fs *fakeStream, ls labels.Labels) int {
			return labels.Compare(fs.Labels, ls)
		})
		if !ok {
			t.streams = slices.Insert(t.streams, n, &fakeStream{Stream: *column.NewStream(s.Labels.Copy())})
		}
		fs := t.streams[n]
		for _, e := range s.Entries {
			fs.add(copyEntry(e))
		}
		for _, tl := range t.tails {
			if matchAll(s.Labels, tl.matchers) {
				b := &ingester.TailBatch{At: time.Now(), Streams: []ingester.Stream{{Labels: fs.Labels, Hash: fs.Hash}}}
				for _, e := range s.Entries {
					b.Streams[0].Entries = append(b.Streams[0].Entries, copyEntry(e))
				}
				select {
				case tl.batches <- b:
				default:
				}
			}
		}
	}
	return nil
}

func (s *fakeStream) add(e ingester.Entry) {
	n, _ := slices.BinarySearchFunc(s.entries, e.Time, func(o ingester.Entry, t int64) int {
		if o.Time <= t {
			return -1
		}
		return 1
	})
	for i := n - 1; i >= 0 && s.entries[i].Time == e.Time; i-- {
		if sameEntry(s.entries[i], e) {
			return
		}
	}
	s.entries = slices.Insert(s.entries, n, e)
}

// copyEntry returns a copy that shares nothing with e; its metadata ascends by name.
func copyEntry(e ingester.Entry) ingester.Entry {
	c := ingester.Entry{Time: e.Time, Line: bytes.Clone(e.Line)}
	for _, m := range e.Metadata {
		c.Metadata = append(c.Metadata, ingester.Field{Name: strings.Clone(m.Name), Value: bytes.Clone(m.Value)})
	}
	slices.SortFunc(c.Metadata, func(a, b ingester.Field) int { return strings.Compare(a.Name, b.Name) })
	return c
}

func sameEntry(a, b ingester.Entry) bool {
	return bytes.Equal(a.Line, b.Line) && slices.EqualFunc(a.Metadata, b.Metadata, func(x, y ingester.Field) bool {
		return x.Name == y.Name && bytes.Equal(x.Value, y.Value)
	})
}

func matchAll(ls labels.Labels, ms []*labels.Matcher) bool {
	for _, m := range ms {
		if !m.Matches(ls.Get(m.Name)) {
			return false
		}
	}
	return true
}

// found is a stream and its entries in some range.
type found struct {
	*fakeStream
	entries []ingester.Entry
}

func (f *Fake) find(ctx context.Context, start, end int64, ms []*labels.Matcher) ([]found, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, err := f.tenant(ctx)
	if err != nil {
		return nil, err
	}
	var out []found
	for _, s := range t.streams {
		if !matchAll(s.Labels, ms) {
			continue
		}
		var es []ingester.Entry
		for _, e := range s.entries {
			if start <= e.Time && e.Time < end {
				es = append(es, e)
			}
		}
		if len(es) > 0 {
			out = append(out, found{s, es})
		}
	}
	return out, nil
}

// Select implements ingester.Service: a batch for each stream.
func (f *Fake) Select(ctx context.Context, req *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	return func(yield func(*column.Batch, error) bool) {
		streams, err := f.find(ctx, req.Start, req.End, req.Matchers)
		if err != nil {
			yield(nil, err)
			return
		}
		if slices.Contains(req.Known, Part) || req.Parts != nil && !slices.Contains(req.Parts, Part) {
			return
		}
		var bs []*column.Batch
		for n, s := range streams {
			lo, hi := s.entries[0].Time, s.entries[len(s.entries)-1].Time
			b := &column.Batch{MinTime: lo, MaxTime: hi, Part: Part, Page: n, Columns: entryColumns(s.entries)}
			b.Runs = []column.Run{{Stream: &s.Stream, To: len(s.entries), MinTime: lo, MaxTime: hi}}
			for _, e := range s.entries {
				b.RawBytes += int64(len(e.Line))
			}
			bs = append(bs, b)
		}
		slices.SortStableFunc(bs, func(a, b *column.Batch) int {
			if req.Direction == logql.Forward {
				return cmp.Compare(a.MinTime, b.MinTime)
			}
			return cmp.Compare(b.MaxTime, a.MaxTime)
		})
		for _, b := range bs {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			if !yield(b, nil) {
				return
			}
		}
	}
}

// Labels implements ingester.Service.
func (f *Fake) Labels(ctx context.Context, start, end int64, ms []*labels.Matcher) ([]string, error) {
	streams, err := f.find(ctx, start, end, ms)
	var out []string
	for _, s := range streams {
		s.Labels.Range(func(l labels.Label) { out = append(out, l.Name) })
	}
	slices.Sort(out)
	return slices.Compact(out), err
}

// LabelValues implements ingester.Service.
func (f *Fake) LabelValues(ctx context.Context, name string, start, end int64, ms []*labels.Matcher) ([]string, error) {
	streams, err := f.find(ctx, start, end, ms)
	var out []string
	for _, s := range streams {
		if v := s.Labels.Get(name); v != "" {
			out = append(out, v)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), err
}

// Series implements ingester.Service.
func (f *Fake) Series(ctx context.Context, start, end int64, ms []*labels.Matcher) ([]labels.Labels, error) {
	streams, err := f.find(ctx, start, end, ms)
	var out []labels.Labels
	for _, s := range streams {
		out = append(out, s.Labels)
	}
	return out, err
}

// Volumes implements ingester.Service.
func (f *Fake) Volumes(ctx context.Context, start, end int64, ms []*labels.Matcher, known []string) ([]logql.StreamVolume, error) {
	streams, err := f.find(ctx, start, end, ms)
	if slices.Contains(known, Part) {
		return nil, err
	}
	var out []logql.StreamVolume
	for _, s := range streams {
		v := logql.StreamVolume{Labels: s.Labels, Entries: int64(len(s.entries)), Chunks: 1}
		for _, e := range s.entries {
			v.Bytes += int64(len(e.Line))
			for _, m := range e.Metadata {
				v.Bytes += int64(column.MetadataSize(m.Value))
			}
		}
		out = append(out, v)
	}
	return out, err
}

// Oldest implements ingester.Service.
func (f *Fake) Oldest(ctx context.Context, start, end int64, ms []*labels.Matcher, known []string) (int64, error) {
	streams, err := f.find(ctx, start, end, ms)
	oldest := int64(math.MaxInt64)
	if slices.Contains(known, Part) {
		return oldest, err
	}
	for _, s := range streams {
		for _, e := range s.entries {
			oldest = min(oldest, e.Time)
		}
	}
	return oldest, err
}

// Tail implements ingester.Service. A reader that is a thousand pushes behind loses what comes then,
// and is not told.
func (f *Fake) Tail(ctx context.Context, ms []*labels.Matcher) iter.Seq2[*ingester.TailBatch, error] {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, err := f.tenant(ctx)
	tl := &fakeTail{matchers: ms, batches: make(chan *ingester.TailBatch, 1000)}
	if err == nil {
		t.tails = append(t.tails, tl)
	}
	return func(yield func(*ingester.TailBatch, error) bool) {
		if err != nil {
			yield(nil, err)
			return
		}
		defer func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			t.tails = slices.DeleteFunc(t.tails, func(o *fakeTail) bool { return o == tl })
		}()
		for {
			select {
			case b := <-tl.batches:
				if !yield(b, nil) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// Flush implements ingester.Service: it only counts.
func (f *Fake) Flush(context.Context, string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flushes++
	return nil
}

// entryColumns are the columns of entries.
type entryColumns []ingester.Entry

func (c entryColumns) Rows() int { return len(c) }

func (c entryColumns) Times(context.Context) ([]int64, error) {
	out := make([]int64, len(c))
	for i, e := range c {
		out[i] = e.Time
	}
	return out, nil
}

func (c entryColumns) LineLengths(context.Context) ([]uint32, error) {
	out := make([]uint32, len(c))
	for i, e := range c {
		out[i] = uint32(len(e.Line))
	}
	return out, nil
}

func (c entryColumns) Lines(context.Context) (column.Lines, error) {
	l := column.Lines{Offsets: []uint32{0}}
	for _, e := range c {
		l.Data = append(l.Data, e.Line...)
		l.Offsets = append(l.Offsets, uint32(len(l.Data)))
	}
	return l, nil
}

func (c entryColumns) MetadataNames(context.Context) ([]string, error) {
	var out []string
	for _, e := range c {
		for _, m := range e.Metadata {
			out = append(out, m.Name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func (c entryColumns) Metadata(_ context.Context, name string) (column.Metadata, error) {
	m := column.Metadata{Index: make([]uint32, len(c))}
	for i, e := range c {
		for _, f := range e.Metadata {
			if f.Name == name {
				m.Values = append(m.Values, f.Value)
				m.Index[i] = uint32(len(m.Values))
			}
		}
	}
	if m.Values == nil {
		return column.Metadata{}, nil
	}
	return m, nil
}

func (c entryColumns) Release() {}
