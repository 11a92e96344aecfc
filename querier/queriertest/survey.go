package queriertest

import (
	"math"
	"testing"

	"github.com/grafana/dskit/user"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
	"example.com/loki/logql/logqltest"
	"example.com/loki/querier"
)

// testSurvey asks what there is to read, and runs tasks over the same pieces.
func testSurvey(t *testing.T, newService func(t *testing.T, w *World) querier.Service) {
	w := &World{Tenant: "a"}
	w.Add(&Part{ID: ID(1), Rows: []logqltest.Row{row(api, 10, "one"), row(api, 29, "two")}, Stored: true})
	w.Add(&Part{ID: ID(2), Rows: []logqltest.Row{row(api, 35, "three"), row(api, 39, "four")}, Held: true})
	s := newService(t, w)
	ctx := user.InjectOrgID(t.Context(), "a")
	cuts := []int64{0, 10 * second, 20 * second, 30 * second, 40 * second}
	survey := func(m ...*labels.Matcher) []querier.SurveyPiece {
		t.Helper()
		pieces, err := s.Survey(ctx, &querier.SurveyRequest{Matchers: m, Cuts: cuts})
		if err != nil || len(pieces) != len(cuts)-1 {
			t.Fatalf("Survey = %+v, %v", pieces, err)
		}
		return pieces
	}
	// agree runs tasks over all pieces and compares.
	agree := func(pieces []querier.SurveyPiece) {
		t.Helper()
		for i := range pieces {
			task := &logql.Task{Params: logql.Params{Query: `{app="api"}`, End: 100 * second}, From: cuts[i], Through: cuts[i+1]}
			p, err := s.Run(ctx, task)
			if err != nil || p.Source != pieces[i].Source {
				t.Errorf("Run over piece %d read from %x, %v, the survey said %x", i, p.Source, err, pieces[i].Source)
			}
		}
	}

	before := survey()
	agree(before)
	for i, p := range before {
		if (p.Source == "") != (i == 3) {
			t.Errorf("source of piece %d is %x", i, p.Source)
		}
	}
	if before[0].Source == before[1].Source || before[1].Source != before[2].Source {
		t.Errorf("the sources are %+v; the second and third piece read one segment, the first none", before)
	}
	if before[0].Bytes != 0 || before[3].Bytes != 0 {
		t.Errorf("bytes of %+v in pieces without a segment", before)
	}
	none := labels.MustNewMatcher(labels.MatchEqual, "app", "none")
	if p := survey(none); p[3].Source == "" {
		t.Error("rows in memory of other streams make a difference")
	}

	w.Set(ID(2), true, true) // it is cut
	after := survey()
	agree(after)
	if after[3].Source == "" || after[3].Source == before[0].Source {
		t.Errorf("source of a new segment is %x", after[3].Source)
	}
	if after[1] != before[1] {
		t.Errorf("what a piece reads was %+v and is %+v, though the new segment lies elsewhere", before[1], after[1])
	}

	w.Add(&Part{ID: ID(3), Rows: []logqltest.Row{row(api, 15, "late")}, Held: true})
	late := survey()
	agree(late[:2])
	if late[0].Source != before[0].Source || late[1].Source != "" {
		t.Errorf("after a late row the sources are %+v", late)
	}
	w.Set(ID(3), false, true)
	if settled := survey(); settled[1].Source == "" || settled[1].Source == before[1].Source {
		t.Errorf("the source of a piece with one more segment is still %x", settled[1].Source)
	}

	for _, cuts := range [][]int64{nil, {5}} {
		if p, err := s.Survey(ctx, &querier.SurveyRequest{Cuts: cuts}); err != nil || len(p) != 0 {
			t.Errorf("Survey of %v = %v, %v", cuts, p, err)
		}
	}
	if _, err := s.Survey(ctx, &querier.SurveyRequest{Cuts: []int64{math.MinInt64, math.MaxInt64}}); err != nil {
		t.Errorf("Survey of all times: %v", err)
	}
	other := user.InjectOrgID(t.Context(), "b")
	if p, err := s.Survey(other, &querier.SurveyRequest{Cuts: cuts}); err != nil || p[1] != p[0] || p[1].Bytes != 0 {
		t.Errorf("Survey of another tenant = %+v, %v", p, err)
	}
}
