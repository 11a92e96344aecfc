package lokihttp

import (
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/loki/logql"
)

var now = time.Unix(1767232800, 0)

func TestParseTime(t *testing.T) {
	tests := []struct {
		in   string
		want int64
		err  string
	}{
		{in: "1767225600", want: 1767225600e9},
		{in: "1767225600000000000", want: 1767225600e9},
		{in: "12345678901", want: 12345678901},
		{in: "-5", want: -5e9},
		{in: "0", want: 0},
		{in: "4000000000", want: 4000000000e9},
		{in: "1767225600.5", want: 1767225600500e6},
		{in: "1767225600.1234", want: 1767225600123e6},
		{in: "1767225600.9996", want: 1767225601e9},
		{in: "2026-01-01T00:00:00Z", want: 1767225600e9},
		{in: "2026-01-01T01:00:00+01:00", want: 1767225600e9},
		{in: "2026-01-01T00:10:00.123456789Z", want: 1767226200123456789},
		{in: "yesterday", err: `strconv.ParseInt: parsing "yesterday": invalid syntax`},
		{in: "1.5.2", err: `strconv.ParseInt: parsing "1.5.2": invalid syntax`},
		{in: "9999999999", err: "between the years"},
		{in: "9999999999999999999999", err: "value out of range"},
		{in: "1e300.0", err: "invalid syntax"},
		{in: "99999999999999999.0", err: "between the years"},
		{in: "9999-12-31T00:00:00Z", err: "between the years"},
		{in: "0001-01-01T00:00:00Z", err: "between the years"},
	}
	for _, tt := range tests {
		got, err := ParseTime(tt.in)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("ParseTime(%q) = %d, %v, want error with %q", tt.in, got, err, tt.err)
			}
			continue
		}
		if err != nil || got != tt.want {
			t.Errorf("ParseTime(%q) = %d, %v, want %d", tt.in, got, err, tt.want)
		}
	}
}

func TestRangeParams(t *testing.T) {
	const start, end = int64(1767225600e9), int64(1767232800e9)
	tests := []struct {
		name, query string
		want        logql.Params
		err         string
	}{
		{
			name: "defaults", query: "query={a=\"b\"}",
			want: logql.Params{Query: `{a="b"}`, Start: end - 3600e9, End: end, Limit: 100, Step: 14 * time.Second},
		},
		{
			name: "all", query: "start=1767225600&end=1767232800&limit=7&direction=FORWARD&step=1h30m&interval=25s",
			want: logql.Params{Start: start, End: end, Limit: 7, Direction: logql.Forward, Step: 90 * time.Minute, Interval: 25 * time.Second},
		},
		{
			name: "since before end", query: "end=1767226200&since=5m",
			want: logql.Params{Start: 1767225900e9, End: 1767226200e9, Limit: 100, Step: time.Second},
		},
		{
			name: "since loses against start", query: "start=1767225600&end=1767232800&since=1m",
			want: logql.Params{Start: start, End: end, Limit: 100, Step: 28 * time.Second},
		},
		{
			name: "end in the future", query: "end=1767240000",
			want: logql.Params{Start: end - 3600e9, End: 1767240000e9, Limit: 100, Step: 43 * time.Second},
		},
		{
			name: "grafana step", query: "start=1767225600&end=1767232800&step=15000ms",
			want: logql.Params{Start: start, End: end, Limit: 100, Step: 15 * time.Second},
		},
		{
			name: "float step and plain interval", query: "start=1767225600&end=1767232800&step=1.5&interval=120",
			want: logql.Params{Start: start, End: end, Limit: 100, Step: 1500 * time.Millisecond, Interval: 2 * time.Minute},
		},
		{
			name: "start is end", query: "start=1767225600&end=1767225600&step=60",
			want: logql.Params{Start: start, End: start, Limit: 100, Step: time.Minute},
		},
		{name: "start", query: "start=yesterday", err: `could not parse 'start' parameter: strconv.ParseInt: parsing "yesterday": invalid syntax`},
		{name: "end", query: "end=soon", err: `could not parse 'end' parameter: strconv.ParseInt: parsing "soon": invalid syntax`},
		{name: "since", query: "since=long", err: `could not parse 'since' parameter: not a valid duration string: "long"`},
		{name: "order", query: "start=1767232800&end=1767225600", err: "end timestamp must not be before or equal to start time"},
		{name: "absurd", query: "start=-9000000000000000000&end=9000000000000000000", err: "longer than 292 years"},
		{name: "step", query: "step=fast", err: `cannot parse "fast" to a valid duration`},
		{name: "zero step", query: "step=0", err: "zero or negative query resolution step widths are not accepted. Try a positive integer"},
		{name: "negative step", query: "step=-5", err: "zero or negative query resolution step widths are not accepted. Try a positive integer"},
		{name: "huge step", query: "step=1e300", err: "overflows"},
		{name: "limit", query: "limit=many", err: `strconv.Atoi: parsing "many": invalid syntax`},
		{name: "float limit", query: "limit=1.5", err: `strconv.Atoi: parsing "1.5": invalid syntax`},
		{name: "zero limit", query: "limit=0", err: "limit must be a positive value"},
		{name: "negative limit", query: "limit=-1", err: "limit must be a positive value"},
		{name: "direction", query: "direction=sideways", err: "invalid direction 'sideways'"},
		{name: "interval", query: "interval=x", err: `cannot parse "x" to a valid duration`},
		{name: "negative interval", query: "interval=-1s", err: `cannot parse "-1s" to a valid duration`},
		{name: "negative seconds", query: "interval=-1", err: "interval must be >= 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := url.ParseQuery(tt.query)
			if err != nil {
				t.Fatal(err)
			}
			got, err := RangeParams(f, now)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || Status(err) != http.StatusBadRequest {
					t.Fatalf("RangeParams(%q) = %v (status %d), want error with %q", tt.query, err, Status(err), tt.err)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("RangeParams(%q) = %+v, %v, want %+v", tt.query, got, err, tt.want)
			}
		})
	}
}

func TestInstantParams(t *testing.T) {
	f := url.Values{"query": {"vector(1)+vector(1)"}, "time": {"4000000000"}}
	got, err := InstantParams(f, now)
	want := logql.Params{Query: "vector(1)+vector(1)", Start: 4e18, End: 4e18, Limit: 100}
	if err != nil || got != want {
		t.Errorf("InstantParams(%v) = %+v, %v, want %+v", f, got, err, want)
	}
	if _, err := InstantParams(url.Values{"time": {"noon"}}, now); err == nil || !strings.Contains(err.Error(), `parsing "noon": invalid syntax`) {
		t.Errorf("InstantParams(time=noon) = %v", err)
	}
}

func TestFormReadsURLAndBody(t *testing.T) {
	body := strings.NewReader("query=%7Ba%3D%22b%22%7D&match[]=1&match[]=2")
	r := httptest.NewRequest(http.MethodPost, "/x?limit=3", body)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	f, err := Form(httptest.NewRecorder(), r)
	if err != nil || f.Get("query") != `{a="b"}` || f.Get("limit") != "3" || len(f["match[]"]) != 2 {
		t.Errorf("Form = %v, %v", f, err)
	}
}

func TestFormRefusesLongBodies(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/x", strings.NewReader("query="+strings.Repeat("x", maxFormBytes)))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	_, err := Form(httptest.NewRecorder(), r)
	if Status(err) != http.StatusRequestEntityTooLarge {
		t.Errorf("Form = %v, status %d, want 413", err, Status(err))
	}
	r = httptest.NewRequest(http.MethodGet, "/x?a=%zz", nil)
	if _, err := Form(httptest.NewRecorder(), r); Status(err) != http.StatusBadRequest {
		t.Errorf("Form(%%zz) = %v, status %d, want 400", err, Status(err))
	}
}

func TestCategorize(t *testing.T) {
	for header, want := range map[string]bool{"": false, "other": false, "categorize-labels": true, "other, categorize-labels": true} {
		if got := Categorize(http.Header{EncodingFlags: {header}}); got != want {
			t.Errorf("Categorize(%q) = %v, want %v", header, got, want)
		}
	}
}

// FuzzParseTime holds that no text makes a time that is not where it says.
func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"1767225600", "1767225600.5", "2026-01-01T00:00:00Z", "-1", "1e5."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ns, err := ParseTime(s)
		if err != nil {
			return
		}
		if back := time.Unix(0, ns); back.Year() < 1677 || back.Year() > 2262 {
			t.Errorf("ParseTime(%q) = %d, year %d", s, ns, back.Year())
		}
		if ns == math.MinInt64 && len(s) < 10 {
			t.Errorf("ParseTime(%q) has overflowed", s)
		}
	})
}
