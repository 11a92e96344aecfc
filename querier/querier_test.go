package querier_test

import (
	"context"
	"testing"

	"github.com/grafana/dskit/services"
	"github.com/grafana/dskit/user"
	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/goleak"

	"example.com/loki/logql"
	"example.com/loki/logql/logqltest"
	"example.com/loki/querier"
	"example.com/loki/querier/queriertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	queriertest.Contract(t, func(t *testing.T, w *queriertest.World) querier.Service {
		q, err := querier.New(querier.Config{}, w.Heads(), w.Index(), w.Store(), nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := services.StartAndAwaitRunning(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := services.StopAndAwaitTerminated(context.Background(), q); err != nil {
				t.Error(err)
			}
		})
		return q
	})
}

func TestConfig(t *testing.T) {
	if _, err := querier.New(querier.Config{Parallelism: -1}, nil, nil, nil, nil, nil, nil); err == nil {
		t.Error("New accepts a negative parallelism")
	}
}

// TestGeneration changes which delete requests are in force, also while a task runs.
func TestGeneration(t *testing.T) {
	w := &queriertest.World{Tenant: "a"}
	w.Add(&queriertest.Part{ID: queriertest.ID(1), Rows: []logqltest.Row{{Stream: labels.FromStrings("app", "x"), Time: 5}}, Stored: true})
	generation := "1"
	q, err := querier.New(querier.Config{Generation: func(string) string { return generation }}, w.Heads(), w.Index(), w.Store(), nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	run(t, q)
	ctx := user.InjectOrgID(t.Context(), "a")
	ask := func() (survey, ran string) {
		t.Helper()
		pieces, err := q.Survey(ctx, &querier.SurveyRequest{Cuts: []int64{0, 10}})
		if err != nil {
			t.Fatal(err)
		}
		p, err := q.Run(ctx, &logql.Task{Params: logql.Params{Query: `{app="x"}`, End: 10}, Through: 10})
		if err != nil {
			t.Fatal(err)
		}
		return pieces[0].Source, p.Source
	}
	before, ran := ask()
	if before == "" || ran != before {
		t.Errorf("the survey says %x, the task %x", before, ran)
	}
	w.AfterSegments = func() { generation += "1" }
	if _, ran := ask(); ran != "" {
		t.Errorf("a task during which a delete request came says that it read %x", ran)
	}
	w.AfterSegments = nil
	if after, ran := ask(); after == before || ran != after {
		t.Errorf("after a delete request the survey says %x, the task %x; before it was %x", after, ran, before)
	}
}
