package store

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/index"

	"example.com/loki/logql/column"
)

// segIndex answers which streams match. It is safe for concurrent use.
type segIndex struct {
	r       *index.Reader
	size    int
	refs    []storage.SeriesRef             // of each stream
	streams []atomic.Pointer[column.Stream] // decoded so far
}

// byteSlice is an index in memory.
type byteSlice []byte

func (b byteSlice) Len() int                    { return len(b) }
func (b byteSlice) Range(start, end int) []byte { return b[start:end] }

// guard turns a panic of the index reader into an error: it takes what it reads for intact, which a
// checksum makes likely but an enemy can forge.
func guard(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("malformed index: %v", p)
	}
}

func openIndex(raw []byte, streams int) (x *segIndex, err error) {
	defer guard(&err)
	r, err := index.NewReader(byteSlice(raw), index.DecodePostingsRaw)
	if err != nil {
		return nil, err
	}
	x = &segIndex{r: r, size: len(raw)}
	name, value := index.AllPostingsKey()
	p, err := r.Postings(context.Background(), name, value)
	if err != nil {
		return nil, err
	}
	x.refs = make([]storage.SeriesRef, 0, streams)
	for p.Next() && len(x.refs) <= streams {
		if n := len(x.refs); n > 0 && p.At() <= x.refs[n-1] {
			return nil, fmt.Errorf("series %d is out of order", n)
		}
		x.refs = append(x.refs, p.At())
	}
	if p.Err() != nil {
		return nil, p.Err()
	}
	if len(x.refs) != streams {
		return nil, fmt.Errorf("%d series instead of %d", len(x.refs), streams)
	}
	x.streams = make([]atomic.Pointer[column.Stream], streams)
	return x, nil
}

// memory is what the index takes when all streams are decoded.
func (x *segIndex) memory() int64 { return int64(2*x.size + 16*len(x.refs)) }

// stream returns a stream by number.
func (x *segIndex) stream(n int) (s *column.Stream, err error) {
	if s := x.streams[n].Load(); s != nil {
		return s, nil
	}
	defer guard(&err)
	var b labels.ScratchBuilder
	var chks []chunks.Meta
	if err := x.r.Series(x.refs[n], &b, &chks); err != nil {
		return nil, err
	}
	if len(chks) != 1 || int(chks[0].Ref) != n {
		return nil, fmt.Errorf("series %d does not refer to its stream", n)
	}
	s = column.NewStream(b.Labels())
	if !x.streams[n].CompareAndSwap(nil, s) {
		s = x.streams[n].Load()
	}
	return s, nil
}

// match returns the numbers of the streams that match all matchers, ascending; with no matchers, all.
func (x *segIndex) match(ctx context.Context, ms []*labels.Matcher) (out []int, err error) {
	defer guard(&err)
	p, err := x.postings(ctx, ms)
	if err != nil {
		return nil, err
	}
	if p == nil {
		out = make([]int, len(x.refs))
		for i := range out {
			out[i] = i
		}
		return out, nil
	}
	at := 0
	for p.Next() {
		ref := p.At()
		if at < len(x.refs) && x.refs[at] < ref {
			// Postings are often dense: look next door before searching.
			at++
			if at < len(x.refs) && x.refs[at] < ref {
				n, _ := slices.BinarySearch(x.refs[at:], ref)
				at += n
			}
		}
		if at == len(x.refs) || x.refs[at] != ref {
			return nil, fmt.Errorf("postings refer to series %d, which does not exist", ref)
		}
		out = append(out, at)
	}
	return out, p.Err()
}

// postings returns the series that match, or nil for all.
func (x *segIndex) postings(ctx context.Context, ms []*labels.Matcher) (index.Postings, error) {
	var with, without []index.Postings
	for _, m := range ms {
		switch {
		case m.Matches(""):
			// All but those that have the label with a value that does not match.
			without = append(without, x.r.PostingsForLabelMatching(ctx, m.Name, func(v string) bool { return !m.Matches(v) }))
		case m.Type == labels.MatchEqual:
			p, err := x.r.Postings(ctx, m.Name, m.Value)
			if err != nil {
				return nil, err
			}
			with = append(with, p)
		case m.Type == labels.MatchRegexp && len(m.SetMatches()) > 0:
			p, err := x.r.Postings(ctx, m.Name, slices.Clone(m.SetMatches())...)
			if err != nil {
				return nil, err
			}
			with = append(with, p)
		default:
			with = append(with, x.r.PostingsForLabelMatching(ctx, m.Name, m.Matches))
		}
	}
	if len(with) == 0 && len(without) == 0 {
		return nil, nil
	}
	if len(with) == 0 {
		name, value := index.AllPostingsKey()
		p, err := x.r.Postings(ctx, name, value)
		if err != nil {
			return nil, err
		}
		with = append(with, p)
	}
	p := index.Intersect(with...)
	for _, w := range without {
		p = index.Without(p, w)
	}
	return p, nil
}

// labelNames returns all names.
func (x *segIndex) labelNames(ctx context.Context) (names []string, err error) {
	defer guard(&err)
	return x.r.LabelNames(ctx)
}

// labelValues returns all values of a name. They share memory with the index.
func (x *segIndex) labelValues(ctx context.Context, name string) (values []string, err error) {
	defer guard(&err)
	return x.r.LabelValues(ctx, name, nil)
}
