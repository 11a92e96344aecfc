package store

import (
	"context"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/thanos-io/objstore"

	"example.com/loki/internal/bench/yardstick"
	"example.com/loki/logql"
	"example.com/loki/logql/column"
)

// rangedBucket counts reads.
type rangedBucket struct {
	objstore.Bucket
	gets, bytes atomic.Int64
}

func (b *rangedBucket) GetRange(ctx context.Context, name string, off, length int64) (io.ReadCloser, error) {
	b.gets.Add(1)
	b.bytes.Add(length)
	return b.Bucket.GetRange(ctx, name, off, length)
}

// notAll asks a source as a reader does that may stop early: all rows are compared then.
type notAll struct{ logql.Source }

func (n notAll) Select(ctx context.Context, req *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	r := *req
	r.All = false
	return n.Source.Select(ctx, &r)
}

// copiesOf makes a bucket with what so many ingesters have put of the same lines of three hours: each cuts its three
// segments a little later than the one before.
func copiesOf(t testing.TB, writers int, digests bool, streams, rows int) (b *rangedBucket, size, raw int64) {
	t.Helper()
	b = &rangedBucket{Bucket: objstore.NewInMemBucket()}
	c := &copyBucket{bucket: b, page: pageRawTarget}
	r := rand.New(rand.NewPCG(1, 2))
	var all []copyRow
	step := int64(3*time.Hour) / int64(rows)
	for i := range rows {
		n := r.IntN(streams)
		all = append(all, copyRow{n, copyMinutes(60*24*365) + int64(i)*step,
			fmt.Sprintf("%d level=info method=GET path=/api/v1/items/%d status=%d duration=%dms request_id=%016x%016x user=%d msg=\"request done\"",
				n, r.IntN(10000), 200+r.IntN(4)*100, r.IntN(5000), r.Uint64(), r.Uint64(), r.IntN(100000)), fmt.Sprint(r.IntN(4))})
	}
	for w := range writers {
		st := c.open(t, fmt.Sprint("ingester-", w), digests)
		cut := rows/3 + 1 + w*rows/500
		for part := range slices.Chunk(all, cut) {
			info := c.put(t, st, part)
			size += info.SizeBytes
			raw += info.RawBytes
		}
	}
	return b, size, raw
}

// askCopies runs a query over all that copiesOf makes.
func askCopies(t testing.TB, src logql.Source, query string) *logql.Result {
	t.Helper()
	p := logql.Params{Query: query, Start: copyMinutes(60 * 24 * 365), End: copyMinutes(60*24*365 + 180), Step: 10 * time.Minute}
	plan, err := logql.NewPlan(p)
	if err != nil {
		t.Fatal(err)
	}
	part, err := plan.Execute(copyTenant, logql.Task{Params: p, From: -1 << 62, Through: 1 << 62}, src, logql.Options{Parallelism: 1})
	if err != nil {
		t.Fatal(err)
	}
	res, err := plan.Finish(copyTenant, [][]*logql.Partial{{part}}, logql.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

var copyQueries = []struct{ name, query string }{
	{"count", `sum by (app) (count_over_time({app=~".+"}[10m]))`},
	{"rate", `sum by (pod) (rate({app=~".+"}[10m]))`},
	{"bytes", `sum by (app) (bytes_over_time({app=~".+"}[10m]))`},
	{"metadata", `sum by (id) (count_over_time({app=~".+"}[10m]))`},
	{"scan", `sum(count_over_time({app=~".+"} |~ "items/7+ .*ms" [10m]))`},
}

// TestCopiesCost asks the same of one copy and of three, and looks at what is read.
func TestCopiesCost(t *testing.T) {
	one, oneSize, _ := copiesOf(t, 1, false, 40, 40_000)
	three, size, _ := copiesOf(t, 3, true, 40, 40_000)
	_, plain, _ := copiesOf(t, 3, false, 40, 40_000)
	t.Logf("segments of %d and with digests of %d bytes, %.2f %%", plain, size, 100*float64(size-plain)/float64(plain))
	if float64(size) > 1.015*float64(plain) || plain < 2*oneSize {
		t.Errorf("three copies have %d bytes, with digests %d", plain, size)
	}
	for _, q := range copyQueries {
		ask := func(b *rangedBucket, wrap func(logql.Source) logql.Source) (res *logql.Result, gets, bytes int64) {
			st := (&copyBucket{bucket: b, page: pageRawTarget}).open(t, "", false)
			g, n := b.gets.Load(), b.bytes.Load()
			res = askCopies(t, wrap(st), q.query)
			return res, b.gets.Load() - g, b.bytes.Load() - n
		}
		same := func(s logql.Source) logql.Source { return s }
		want, wantGets, wantBytes := ask(one, same)
		got, gets, bytes := ask(three, same)
		compared, before, beforeBytes := ask(three, func(s logql.Source) logql.Source { return notAll{s} })
		t.Logf("%s: one copy %d GETs of %d bytes, three %d of %d, row by row %d of %d", q.name, wantGets, wantBytes, gets, bytes, before, beforeBytes)
		if len(want.Series) == 0 || !reflect.DeepEqual(got.Series, want.Series) || !reflect.DeepEqual(compared.Series, want.Series) {
			t.Errorf("%s: answers differ", q.name)
		}
		if gets > 5*wantGets || bytes > 2*wantBytes+int64(size)/10 {
			t.Errorf("%s: three copies take %d GETs of %d bytes, one %d of %d", q.name, gets, bytes, wantGets, wantBytes)
		}
	}
}

func BenchmarkCopies(b *testing.B) {
	one, _, _ := copiesOf(b, 1, false, 240, 500_000)
	three, _, _ := copiesOf(b, 3, true, 240, 500_000)
	for _, q := range copyQueries {
		for _, from := range []struct {
			name   string
			bucket *rangedBucket
			all    bool
		}{{"one", one, true}, {"three", three, true}, {"rows", three, false}} {
			st := (&copyBucket{bucket: from.bucket, page: pageRawTarget}).open(b, "", false)
			b.Run(q.name+"/"+from.name, func(b *testing.B) {
				gets, n := from.bucket.gets.Load(), from.bucket.bytes.Load()
				var src logql.Source = st
				if !from.all {
					src = notAll{st}
				}
				for b.Loop() {
					askCopies(b, src, q.query)
				}
				b.ReportMetric(float64(from.bucket.gets.Load()-gets)/float64(b.N), "GETs/op")
				b.ReportMetric(float64(from.bucket.bytes.Load()-n)/float64(b.N), "read-B/op")
			})
		}
	}
}

// BenchmarkDigests is what digests add to writing a segment.
func BenchmarkDigests(b *testing.B) {
	c := streamCursor{digested: true}
	c.reset(sampleRows(1, copyStream(1), 3000))
	p := newPageBuilder(1 << 30)
	p.add(&c, 0, len(c.Times))
	var buf []byte
	yardstick.Bytes(b, int64(len(c.Lines.Data)))
	for b.Loop() {
		c.hashRows()
		buf = p.appendDigests(buf[:0])
	}
	if len(buf) == 0 {
		b.Fatal("no digests")
	}
}
