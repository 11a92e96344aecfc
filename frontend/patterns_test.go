package frontend_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/grafana/dskit/user"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/frontend"
	"example.com/loki/frontend/frontendtest"
	"example.com/loki/limits"
	"example.com/loki/logql/logqltest"
	"example.com/loki/querier/queriertest"
)

func TestDetectPatterns(t *testing.T) {
	w := &queriertest.World{Tenant: "a"}
	stream := labels.FromStrings("app", "shop")
	start := frontendtest.Now.UnixNano() - int64(time.Hour)
	var rows []logqltest.Row
	add := func(i int, level, line string) {
		rows = append(rows, logqltest.Row{Stream: stream, Time: start + int64(i)*int64(time.Second)/2, Line: line, Metadata: labels.FromStrings("detected_level", level)})
	}
	users := []string{"ann", "bob", "zoë"}
	for i := range 6000 { // more than a sample
		switch i % 3 {
		case 0:
			add(i, "info", fmt.Sprintf(`2026-01-01T00:%02d:00Z level=info msg="user %s logged in" took=%dms`, i%60, users[i/3%3], i))
		case 1:
			add(i, "info", fmt.Sprintf(`{"path":"/cart/%d","method":"GET","user":"%s"}`, i, users[i/3%3]))
		default:
			add(i, "error", "disk full")
		}
	}
	w.Add(&queriertest.Part{ID: queriertest.ID(1), Rows: rows, Held: true})
	s := over(t, frontend.Config{}, w, limits.Default())
	ctx := user.InjectOrgID(t.Context(), "a")
	req := &frontend.PatternRequest{Query: `{app="shop"}`, Start: start, End: start + int64(time.Hour), Step: 10 * time.Minute}
	patterns, err := frontend.DetectPatterns(ctx, s, req)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for _, p := range patterns {
		for i, sample := range p.Samples {
			got[p.Level+": "+p.Pattern] += sample.Count
			if sample.Time%600 != 0 || i > 0 && sample.Time <= p.Samples[i-1].Time {
				t.Errorf("%s: sample at %d", p.Pattern, sample.Time)
			}
		}
	}
	// Lines are sampled at the end of each slice, where the three kinds alternate as everywhere. What was
	// counted in the others is shared out: 400 lines of each kind in each step.
	for _, p := range patterns {
		for _, sample := range p.Samples {
			if sample.Count < 380 || sample.Count > 420 {
				t.Errorf("%s: %d lines at %d, want about 400", p.Pattern, sample.Count, sample.Time)
			}
		}
	}
	for _, want := range []string{`info: <_> level=info msg="user <_> logged in" took=<_>`, `info: {"path":"<_>","method":"GET","user":"<_>"}`, "error: disk full"} {
		if n := got[want]; n < 1950 || n > 2050 {
			t.Errorf("%s: %d lines, want about 2000", want, n)
		}
	}
	if len(got) != 3 {
		t.Errorf("%d patterns, want 3: %v", len(got), got)
	}
	// Patterns are what the pattern line filter takes.
	for _, p := range patterns {
		quoted := fmt.Sprintf("{app=\"shop\"} |> `%s`", p.Pattern)
		h := mount(frontend.Config{}, s, nil)
		if r := request(h, "/loki/api/v1/query_range", "query", quoted, "start", fmt.Sprint(req.Start), "end", fmt.Sprint(req.End)); r.Code != 200 || !strings.Contains(r.Body.String(), `"totalEntriesReturned":100`) {
			t.Errorf("%s finds %d %.300s", quoted, r.Code, r.Body)
		}
	}
}

func TestPatternsOverHTTP(t *testing.T) {
	h := mount(frontend.Config{}, over(t, frontend.Config{}, frontendtest.World(), limits.Default()), nil)
	r := request(h, "/loki/api/v1/patterns", "query", `{app="web"}`, "start", "1767225600", "end", "1767232800", "step", "1h")
	want := `{"status":"success","data":[{"pattern":"web n=\u003c_\u003e","level":"unknown","samples":[[1767225600,6],[1767229200,6]]}]}`
	if got := strings.TrimSpace(r.Body.String()); r.Code != 200 || got != want {
		t.Errorf("patterns = %d %s, want %s", r.Code, got, want)
	}
	if r := request(h, "/loki/api/v1/patterns", "query", `{app=`); r.Code != 400 {
		t.Errorf("patterns of nonsense = %d %s", r.Code, r.Body)
	}
	r = request(h, "/loki/api/v1/patterns", "query", `{app="nope"}`, "start", "1767225600", "end", "1767232800")
	if got := strings.TrimSpace(r.Body.String()); got != `{"status":"success","data":[]}` {
		t.Errorf("patterns of nothing = %s", got)
	}
}

func TestPatternSamples(t *testing.T) {
	w := &queriertest.World{Tenant: "a"}
	start := frontendtest.Now.Unix() - 3600
	var rows []logqltest.Row
	for _, second := range []int64{0, 1, 600, 1800, 3599} {
		rows = append(rows, logqltest.Row{Stream: labels.FromStrings("app", "shop"), Time: (start + second) * 1e9, Line: fmt.Sprintf("tick %d", second)})
	}
	w.Add(&queriertest.Part{ID: queriertest.ID(1), Rows: rows, Held: true})
	s := over(t, frontend.Config{}, w, limits.Default())
	ctx := user.InjectOrgID(t.Context(), "a")
	for _, tt := range []struct {
		step  time.Duration
		lines int
		want  string
	}{
		{10 * time.Minute, 0, "0:2 10:1 20:0 30:1 40:0 50:1"},
		{299500 * time.Millisecond, 0, "0:2 5:0 10:1 15:0 25:0 30:1 35:0 50:0 55:1"},
		{time.Hour, 0, "0:5"},
		{2 * time.Hour, 0, "-60:5"},
		{time.Hour, 1, "0:5"}, // one line stands for all of its slice
	} {
		req := &frontend.PatternRequest{Query: `{app="shop"} | json | keep app`, Start: start * 1e9, End: frontendtest.Now.UnixNano(), Step: tt.step, LineLimit: tt.lines}
		patterns, err := frontend.DetectPatterns(ctx, s, req)
		if err != nil || len(patterns) != 1 {
			t.Errorf("step %s: %+v, %v", tt.step, patterns, err)
			continue
		}
		var got []string
		for _, sample := range patterns[0].Samples {
			got = append(got, fmt.Sprintf("%d:%d", (sample.Time-start)/60, sample.Count))
		}
		if got := strings.Join(got, " "); got != tt.want {
			t.Errorf("step %s: got %s, want %s", tt.step, got, tt.want)
		}
	}
	req := &frontend.PatternRequest{Query: `{app="shop"} | label_format detected_level="mine"`, Start: start * 1e9, End: frontendtest.Now.UnixNano(), Step: time.Hour, LineLimit: 2}
	if patterns, err := frontend.DetectPatterns(ctx, s, req); err != nil || fmt.Sprint(patterns) != fmt.Sprintf("[{tick <_> mine [{%d 5}]}]", start) {
		t.Errorf("patterns of a level that the query makes = %v, %v", patterns, err)
	}
	if patterns, err := frontend.DetectPatterns(ctx, s, &frontend.PatternRequest{Query: `{app="shop"}`, Start: 5, End: 5}); err != nil || len(patterns) != 0 {
		t.Errorf("patterns of no time = %v, %v", patterns, err)
	}
}
