package logql_test

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"example.com/loki/logql"
	"example.com/loki/logql/logqltest"
	"example.com/loki/logql/syntax"
)

// FuzzQuery checks that no query panics, hangs or keeps a batch, and that what fails is the user's
// mistake.
func FuzzQuery(f *testing.F) {
	r := rand.New(rand.NewPCG(7, 7))
	rows := randomRows(r, 60)
	src := logqltest.NewSource(rows, logqltest.Layout{PageRows: 7, Parts: 2, Doubles: 3})
	for range 60 {
		p := randomQuery(r)
		f.Add(p.Query, p.Start-logqltest.Base, p.End-p.Start, int64(p.Step), p.Limit)
	}
	f.Add(`label_replace(rate({a="b"} | json | unwrap bytes(x) [0s] offset -200y), "a", "$1", "b", "(.*)")`, int64(0), int64(1), int64(1), 0)
	f.Add(`rate({app=~".+"}[292y] offset 292y) or vector(1) > bool 2`, int64(0), int64(time.Hour), int64(time.Second), 0)
	f.Fuzz(func(t *testing.T, query string, start, length, step int64, limit int) {
		p := logql.Params{Query: query, Start: logqltest.Base + start, End: logqltest.Base + start + length, Step: time.Duration(step), Limit: limit}
		res, err := logql.Query(t.Context(), p, src, logql.Options{MaxMemory: 1 << 24, MaxSeries: 500, Parallelism: 2})
		var parse *syntax.ParseError
		var bad *logql.QueryError
		if err != nil && !errors.As(err, &parse) && !errors.As(err, &bad) {
			t.Errorf("%+v: error %v is none of the user's", p, err)
		}
		if (res == nil) == (err == nil) {
			t.Errorf("%+v: result %v, error %v", p, res, err)
		}
		if n := src.Open(); n != 0 {
			t.Errorf("%+v: %d batches are not released", p, n)
		}
	})
}
