// Package lokihttp speaks the dialect of Loki's HTTP API: it reads parameters, writes results as JSON and
// turns errors into status codes.
//
// Names, defaults, spellings and error texts are those that clients of Loki know.
package lokihttp

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"example.com/loki/logql"
)

// DefaultLimit is the number of entries of an answer without the parameter limit.
const DefaultLimit = 100

const (
	defaultSince = time.Hour
	maxFormBytes = 10 << 20
)

// EncodingFlags is the header by which clients ask for variants of the answer.
const EncodingFlags = "X-Loki-Response-Encoding-Flags"

// Form returns the parameters of a request, from its URL and the body of a form.
func Form(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if r.Body != nil {
		r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
	}
	if err := r.ParseForm(); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, err
		}
		return nil, &ParamError{Text: "could not read the parameters: " + err.Error()}
	}
	return r.Form, nil
}

// Categorize tells whether the client wants structured metadata and parsed labels apart.
func Categorize(h http.Header) bool {
	for _, v := range h.Values(EncodingFlags) {
		for flag := range strings.SplitSeq(v, ",") {
			if strings.TrimSpace(flag) == "categorize-labels" {
				return true
			}
		}
	}
	return false
}

// RangeParams reads the parameters of a range query.
func RangeParams(f url.Values, now time.Time) (logql.Params, error) {
	p := logql.Params{Query: f.Get("query")}
	var err error
	if p.Start, p.End, err = Bounds(f, now); err != nil {
		return p, err
	}
	if p.Limit, err = Limit(f, "limit", DefaultLimit); err != nil {
		return p, err
	}
	if p.Direction, err = direction(f); err != nil {
		return p, err
	}
	if p.Step, err = Step(f, p.Start, p.End); err != nil {
		return p, err
	}
	if p.Interval, err = duration(f.Get("interval"), 0); err != nil {
		return p, err
	}
	if p.Interval < 0 {
		return p, &ParamError{Text: "interval must be >= 0"}
	}
	return p, nil
}

// InstantParams reads the parameters of an instant query.
func InstantParams(f url.Values, now time.Time) (logql.Params, error) {
	p := logql.Params{Query: f.Get("query")}
	at, err := timestamp(f, "time", now.UnixNano())
	if err != nil {
		return p, err
	}
	p.Start, p.End = at, at
	if p.Limit, err = Limit(f, "limit", DefaultLimit); err != nil {
		return p, err
	}
	p.Direction, err = direction(f)
	return p, err
}

// Bounds reads start, end and since as nanoseconds since 1970: without end it is now, without start the
// range is since long, by default an hour.
func Bounds(f url.Values, now time.Time) (start, end int64, err error) {
	if end, err = timestamp(f, "end", now.UnixNano()); err != nil {
		return 0, 0, err
	}
	since := defaultSince
	if s := f.Get("since"); s != "" {
		d, err := model.ParseDuration(s)
		if err != nil {
			return 0, 0, &ParamError{Text: "could not parse 'since' parameter: " + err.Error()}
		}
		since = time.Duration(d)
	}
	if start, err = timestamp(f, "start", min(end, now.UnixNano())-int64(since)); err != nil {
		return 0, 0, err
	}
	if end < start {
		return 0, 0, &ParamError{Text: "end timestamp must not be before or equal to start time"}
	}
	if end-start < 0 { // the difference does not fit
		return 0, 0, &ParamError{Text: "the time range is longer than 292 years; choose a start closer to the end"}
	}
	return start, end, nil
}

// timestamp reads a time parameter.
func timestamp(f url.Values, name string, otherwise int64) (int64, error) {
	s := f.Get(name)
	if s == "" {
		return otherwise, nil
	}
	t, err := ParseTime(s)
	if err != nil {
		return 0, &ParamError{Text: fmt.Sprintf("could not parse '%s' parameter: %v", name, err)}
	}
	return t, nil
}

var errTimeRange = errors.New("the time must lie between the years 1678 and 2262")

// ParseTime reads a time as nanoseconds since 1970: an integer of up to ten digits is seconds, a longer one
// nanoseconds, a number with a dot seconds rounded to milliseconds, and anything else RFC 3339.
func ParseTime(s string) (int64, error) {
	if strings.Contains(s, ".") {
		if v, err := strconv.ParseFloat(s, 64); err == nil {
			ms := math.Round(v * 1000)
			if !(math.Abs(ms) < math.MaxInt64/1e6) {
				return 0, errTimeRange
			}
			return int64(ms) * int64(time.Millisecond), nil
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t, rfcErr := time.Parse(time.RFC3339Nano, s)
		if rfcErr != nil {
			return 0, err
		}
		if y := t.Year(); y < 1678 || y >= 2262 {
			return 0, errTimeRange
		}
		return t.UnixNano(), nil
	}
	if len(s) > 10 {
		return n, nil
	}
	if n > math.MaxInt64/int64(time.Second) {
		return 0, errTimeRange
	}
	return n * int64(time.Second), nil
}

// Step reads the distance of points. Without the parameter it is a 250th of the range in whole seconds, at
// least one.
func Step(f url.Values, start, end int64) (time.Duration, error) {
	seconds := max((end-start)/int64(time.Second)/250, 1)
	step, err := duration(f.Get("step"), time.Duration(seconds)*time.Second)
	if err != nil {
		return 0, err
	}
	if step <= 0 {
		return 0, &ParamError{Text: "zero or negative query resolution step widths are not accepted. Try a positive integer"}
	}
	return step, nil
}

// duration reads a number of seconds or a duration like 1h30m.
func duration(s string, otherwise time.Duration) (time.Duration, error) {
	if s == "" {
		return otherwise, nil
	}
	if v, err := strconv.ParseFloat(s, 64); err == nil {
		ns := v * float64(time.Second)
		if !(math.Abs(ns) < math.MaxInt64) {
			return 0, &ParamError{Text: fmt.Sprintf("cannot parse %q to a valid duration. It overflows int64", s)}
		}
		return time.Duration(ns), nil
	}
	d, err := model.ParseDuration(s)
	if err != nil {
		return 0, &ParamError{Text: fmt.Sprintf("cannot parse %q to a valid duration", s)}
	}
	return time.Duration(d), nil
}

// Limit reads a positive number.
func Limit(f url.Values, name string, otherwise int) (int, error) {
	n, err := Int(f, name, otherwise)
	if err != nil {
		return 0, err
	}
	if n <= 0 {
		return 0, &ParamError{Text: name + " must be a positive value"}
	}
	return n, nil
}

// Int reads a number.
func Int(f url.Values, name string, otherwise int) (int, error) {
	s := f.Get(name)
	if s == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, &ParamError{Text: err.Error()}
	}
	return n, nil
}

func direction(f url.Values) (logql.Direction, error) {
	s := f.Get("direction")
	switch {
	case s == "", strings.EqualFold(s, "backward"):
		return logql.Backward, nil
	case strings.EqualFold(s, "forward"):
		return logql.Forward, nil
	}
	return 0, &ParamError{Text: fmt.Sprintf("invalid direction '%s'", s)}
}
