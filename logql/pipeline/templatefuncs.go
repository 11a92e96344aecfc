package pipeline

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"text/template"
	"time"
	"unicode/utf8"

	"github.com/Masterminds/sprig/v3"
	"github.com/grafana/regexp"
)

// sprigFuncs are the functions taken from sprig as they are: they cost the same whatever they are given.
var sprigFuncs = []string{
	"float64", "addf", "subf", "mulf", "divf", "maxf", "minf", "ceil", "floor", "round", "default", "now", "unixEpoch",
}

// templateEnv is what the functions of a template see while it is executed.
type templateEnv struct {
	w       *Worker
	fields  []string // labels that the template reads; nil for all
	labels  map[string]string
	out     []byte
	start   int
	steps   int
	regexps map[string]*regexp.Regexp
}

// execute runs a template over the worker's row and appends what it writes to dst.
func (e *templateEnv) execute(t *template.Template, dst []byte) ([]byte, error) {
	clear(e.labels)
	w := e.w
	switch {
	case e.fields != nil:
		for _, name := range e.fields {
			if v := w.groupValue(name); v != "" {
				e.labels[name] = v
			}
		}
	default:
		for i := range w.labels.list {
			if l := &w.labels.list[i]; !l.gone {
				e.labels[l.name] = l.value
			}
		}
		if w.err != "" {
			e.labels[labelError] = w.err
		}
		if w.details != "" {
			e.labels[labelErrorDetails] = w.details
		}
	}
	e.out, e.start, e.steps = dst, len(dst), maxTemplateSteps
	err := t.Execute(e, e.labels)
	out := e.out
	e.out = nil
	return out, err
}

// Write takes the output of a template.
func (e *templateEnv) Write(p []byte) (int, error) {
	if len(e.out)-e.start+len(p) > maxTemplateBytes {
		return 0, errTemplateBytes
	}
	e.out = append(e.out, p...)
	return len(p), nil
}

// spend pays for work on some bytes.
func (e *templateEnv) spend(bytes int) error {
	e.steps -= 1 + bytes/bytesPerStep
	if e.steps < 0 {
		return errTemplateSteps
	}
	if e.steps%64 == 0 && e.w.ctx != nil {
		return e.w.ctx.Err()
	}
	return nil
}

// make pays for a string of some bytes.
func (e *templateEnv) make(bytes int) error {
	if bytes > maxTemplateBytes || bytes < 0 {
		return errTemplateBytes
	}
	return e.spend(bytes)
}

func (e *templateEnv) regexp(s string) (*regexp.Regexp, error) {
	if re := e.regexps[s]; re != nil {
		return re, nil
	}
	if err := e.spend(64 * len(s)); err != nil {
		return nil, err
	}
	re, err := regexp.Compile(s)
	if err != nil {
		return nil, err
	}
	if e.regexps == nil || len(e.regexps) >= 64 {
		e.regexps = map[string]*regexp.Regexp{}
	}
	e.regexps[strings.Clone(s)] = re
	return re, nil
}

// templateFuncs returns the functions of templates. Without an environment they can only be parsed.
func templateFuncs(e *templateEnv) template.FuncMap {
	m := template.FuncMap{}
	all := sprig.GenericFuncMap()
	for _, name := range sprigFuncs {
		m[name] = all[name]
	}
	// str is for functions of a string that make one of about its length.
	str := func(f func(string) string) func(string) (string, error) {
		return func(s string) (string, error) {
			if err := e.make(2 * len(s)); err != nil {
				return "", err
			}
			return f(s), nil
		}
	}
	// str2 is the same for functions of two strings.
	str2 := func(f func(a, b string) string) func(a, b string) (string, error) {
		return func(a, b string) (string, error) {
			if err := e.make(len(a) + len(b)); err != nil {
				return "", err
			}
			return f(a, b), nil
		}
	}
	test := func(f func(a, b string) bool) func(a, b string) (bool, error) {
		return func(a, b string) (bool, error) { return f(a, b), e.spend(len(a) + len(b)) }
	}
	swap := func(f func(a, b string) string) func(a, b string) string {
		return func(a, b string) string { return f(b, a) }
	}
	add := func(fs template.FuncMap) {
		for name, f := range fs {
			m[name] = f
		}
	}
	add(template.FuncMap{
		"__line__":      func() string { return text(e.w.line) },
		"__timestamp__": func() time.Time { return time.Unix(0, e.w.time).UTC() },

		"int": func(v any) int { return int(toInt(v)) },
		"add": func(vs ...any) int64 { return foldInts(0, vs, func(a, b int64) int64 { return a + b }) },
		"sub": func(a, b any) int64 { return toInt(a) - toInt(b) },
		"mul": func(a any, vs ...any) int64 { return foldInts(toInt(a), vs, func(a, b int64) int64 { return a * b }) },
		"div": func(a, b any) int64 { return toInt(a) / toInt(b) }, // a panic becomes an error of the template
		"mod": func(a, b any) int64 { return toInt(a) % toInt(b) },
		"max": func(a any, vs ...any) int64 {
			return foldInts(toInt(a), vs, func(a, b int64) int64 { return max(a, b) })
		},
		"min": func(a any, vs ...any) int64 {
			return foldInts(toInt(a), vs, func(a, b int64) int64 { return min(a, b) })
		},

		"lower": str(strings.ToLower), "ToLower": str(strings.ToLower),
		"upper": str(strings.ToUpper), "ToUpper": str(strings.ToUpper),
		"title":      str(titleCase),
		"trim":       str(strings.TrimSpace),
		"TrimSpace":  str(strings.TrimSpace),
		"trimAll":    str2(swap(strings.Trim)),
		"trimPrefix": str2(swap(strings.TrimPrefix)),
		"trimSuffix": str2(swap(strings.TrimSuffix)),
		"Trim":       str2(strings.Trim),
		"TrimLeft":   str2(strings.TrimLeft),
		"TrimRight":  str2(strings.TrimRight),
		"TrimPrefix": str2(strings.TrimPrefix),
		"TrimSuffix": str2(strings.TrimSuffix),
		"contains":   test(func(sub, s string) bool { return strings.Contains(s, sub) }),
		"hasPrefix":  test(func(sub, s string) bool { return strings.HasPrefix(s, sub) }),
		"hasSuffix":  test(func(sub, s string) bool { return strings.HasSuffix(s, sub) }),
		"substr":     substring,
		"trunc":      truncate,
		"alignLeft":  e.alignLeft,
		"alignRight": e.alignRight,
		"repeat":     e.repeat,
		"indent":     e.indent,
		"nindent": func(n int, s string) (string, error) {
			out, err := e.indent(n, s)
			return "\n" + out, err
		},
		"replace": func(old, new, s string) (string, error) { return e.replace(s, old, new, -1) },
		"Replace": e.replace,

		"b64enc":    str(func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }),
		"b64dec":    str(decodeBase64),
		"urlencode": str(url.QueryEscape),
		"urldecode": func(s string) (string, error) {
			if err := e.make(len(s)); err != nil {
				return "", err
			}
			return url.QueryUnescape(s)
		},
		"fromJson": e.fromJSON,

		"count":                  e.count,
		"regexReplaceAll":        e.regexReplaceAll,
		"regexReplaceAllLiteral": e.regexReplaceAllLiteral,

		"bytes":            func(s string) (float64, error) { n, err := parseBytes(s); return float64(n), err },
		"duration":         seconds,
		"duration_seconds": seconds,

		"date":            formatDate,
		"toDate":          func(layout, s string) time.Time { t, _ := time.ParseInLocation(layout, s, time.UTC); return t },
		"toDateInZone":    dateInZone,
		"unixToTime":      unixToTime,
		"unixEpochMillis": func(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) },
		"unixEpochNanos":  func(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) },
	})
	// Go's own functions that make strings, within bounds.
	add(template.FuncMap{
		"printf": e.printf,
		"print": func(args ...any) (string, error) {
			if err := e.make(sizeOf(args, 0)); err != nil {
				return "", err
			}
			return fmt.Sprint(args...), nil
		},
		"println": func(args ...any) (string, error) {
			if err := e.make(sizeOf(args, 0)); err != nil {
				return "", err
			}
			return fmt.Sprintln(args...), nil
		},
		"html":     e.escaper(template.HTMLEscaper),
		"js":       e.escaper(template.JSEscaper),
		"urlquery": e.escaper(template.URLQueryEscaper),
	})
	if e != nil {
		m[stepFunc] = func() (string, error) { return "", e.spend(0) }
	}
	return m
}

func (e *templateEnv) escaper(f func(...any) string) func(...any) (string, error) {
	return func(args ...any) (string, error) {
		if err := e.make(6 * sizeOf(args, 0)); err != nil {
			return "", err
		}
		return f(args...), nil
	}
}

// sizeOf estimates the length of a value in print, from above.
func sizeOf(v any, depth int) int {
	if depth > 64 {
		return maxTemplateBytes
	}
	switch v := v.(type) {
	case string:
		return len(v)
	case []any:
		n := 2
		for _, x := range v {
			if n += 1 + sizeOf(x, depth+1); n > maxTemplateBytes {
				break
			}
		}
		return n
	case map[string]any:
		n := 5
		for k, x := range v {
			if n += 2 + len(k) + sizeOf(x, depth+1); n > maxTemplateBytes {
				break
			}
		}
		return n
	case map[string]string:
		n := 5
		for k, x := range v {
			n += 2 + len(k) + len(x)
		}
		return n
	}
	return 48
}

// printf is Sprintf, whose widths and precisions would make strings of any length.
func (e *templateEnv) printf(format string, args ...any) (string, error) {
	n := len(format) + sizeOf(args, 0)*max(1, strings.Count(format, "%["))*6
	for i := 0; i < len(format); i++ {
		if format[i] == '*' {
			for _, a := range args {
				if w, ok := a.(int); ok {
					n += min(max(w, -w), 6*maxTemplateBytes+1)
				}
			}
		}
		width := 0
		for i < len(format) && isDigit(format[i]) {
			width = min(10*width+int(format[i]-'0'), 6*maxTemplateBytes+1)
			i++
		}
		n += width
	}
	if n > 6*maxTemplateBytes {
		return "", errTemplateBytes
	}
	if err := e.spend(n); err != nil {
		return "", err
	}
	s := fmt.Sprintf(format, args...)
	if len(s) > maxTemplateBytes {
		return "", errTemplateBytes
	}
	return s, nil
}

// titleCase makes the first letter of each word a capital; what follows a character that is neither
// letter, digit, underscore nor apostrophe is the beginning of a word.
func titleCase(s string) string {
	//lint:ignore SA1019 the function is defined by this one
	return strings.Title(s)
}

// substring returns the bytes [start, end) of s. A negative start means 0, a negative end or one
// behind the end of s that end.
func substring(start, end int, s string) (string, error) {
	if start < 0 {
		start = 0
		if end < 0 {
			return "", fmt.Errorf("substr: end %d is negative", end)
		}
	}
	if end < 0 || end > len(s) {
		end = len(s)
	}
	if start > end {
		return "", fmt.Errorf("substr: start %d lies behind end %d", start, end)
	}
	return s[start:end], nil
}

// truncate returns the first n bytes of s, or the last -n.
func truncate(n int, s string) string {
	if n < 0 && len(s)+n > 0 {
		return s[len(s)+n:]
	}
	if n >= 0 && len(s) > n {
		return s[:n]
	}
	return s
}

// alignLeft pads or cuts s at its right end to n characters.
func (e *templateEnv) alignLeft(n int, s string) (string, error) {
	if n < 0 {
		return s, nil
	}
	if err := e.make(n + len(s)); err != nil {
		return "", err
	}
	have := utf8.RuneCountInString(s)
	if have <= n {
		return s + strings.Repeat(" ", n-have), nil
	}
	return string([]rune(s)[:n]), nil
}

// alignRight pads or cuts s at its left end to n characters.
func (e *templateEnv) alignRight(n int, s string) (string, error) {
	if n < 0 {
		return s, nil
	}
	if err := e.make(n + len(s)); err != nil {
		return "", err
	}
	have := utf8.RuneCountInString(s)
	if have <= n {
		return strings.Repeat(" ", n-have) + s, nil
	}
	return string([]rune(s)[have-n:]), nil
}

func (e *templateEnv) repeat(n int, s string) (string, error) {
	if n < 0 {
		return "", fmt.Errorf("repeat: count %d is negative", n)
	}
	if n > maxTemplateBytes {
		return "", errTemplateBytes
	}
	if err := e.make(n * len(s)); err != nil {
		return "", err
	}
	return strings.Repeat(s, n), nil
}

func (e *templateEnv) indent(n int, s string) (string, error) {
	if n < 0 {
		return "", fmt.Errorf("indent: %d is negative", n)
	}
	if n > maxTemplateBytes {
		return "", errTemplateBytes
	}
	if err := e.make(len(s) + n*(1+strings.Count(s, "\n"))); err != nil {
		return "", err
	}
	pad := strings.Repeat(" ", n)
	return pad + strings.ReplaceAll(s, "\n", "\n"+pad), nil
}

func (e *templateEnv) replace(s, old, new string, n int) (string, error) {
	hits := strings.Count(s, old)
	if n >= 0 {
		hits = min(hits, n)
	}
	if len(new) > maxTemplateBytes {
		return "", errTemplateBytes
	}
	if err := e.make(len(s) + hits*len(new)); err != nil {
		return "", err
	}
	return strings.Replace(s, old, new, n), nil
}

func decodeBase64(s string) string {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// fromJSON decodes a JSON value; of what is none it returns nil.
func (e *templateEnv) fromJSON(s string) (any, error) {
	if err := e.make(4 * len(s)); err != nil {
		return nil, err
	}
	var v any
	if json.Unmarshal([]byte(s), &v) != nil {
		return nil, nil
	}
	return v, nil
}

func (e *templateEnv) count(expr, s string) (int, error) {
	re, err := e.regexp(expr)
	if err != nil {
		return 0, err
	}
	if err := e.spend(16 * len(s)); err != nil {
		return 0, err
	}
	return len(re.FindAllStringIndex(s, -1)), nil
}

func (e *templateEnv) regexReplaceAll(expr, s, repl string) (string, error) {
	return e.replaceMatches(expr, s, func(re *regexp.Regexp, dst []byte, m []int) []byte {
		return re.ExpandString(dst, repl, s, m)
	})
}

func (e *templateEnv) regexReplaceAllLiteral(expr, s, repl string) (string, error) {
	return e.replaceMatches(expr, s, func(_ *regexp.Regexp, dst []byte, _ []int) []byte {
		return append(dst, repl...)
	})
}

func (e *templateEnv) replaceMatches(expr, s string, repl func(re *regexp.Regexp, dst []byte, m []int) []byte) (string, error) {
	re, err := e.regexp(expr)
	if err != nil {
		return "", err
	}
	if err := e.spend(16 * len(s)); err != nil {
		return "", err
	}
	var out []byte
	last := 0
	for _, m := range re.FindAllStringSubmatchIndex(s, -1) {
		out = append(out, s[last:m[0]]...)
		before := len(out)
		out = repl(re, out, m)
		if err := e.spend(len(out) - before); err != nil {
			return "", err
		}
		if len(out) > maxTemplateBytes {
			return "", errTemplateBytes
		}
		last = m[1]
	}
	return string(append(out, s[last:]...)), nil
}

// toInt converts a value to an integer: a string in Go's notation of integers, else as a decimal
// number whose fraction doesn't count. What is no number is 0.
func toInt(v any) int64 {
	switch v := v.(type) {
	case string:
		if n, err := strconv.ParseInt(v, 0, 64); err == nil {
			return n
		}
		f, _ := strconv.ParseFloat(v, 64)
		return int64(f)
	case int:
		return int64(v)
	case int64:
		return v
	case float64:
		return int64(v)
	case bool:
		if v {
			return 1
		}
	case time.Duration:
		return int64(v)
	case time.Weekday:
		return int64(v)
	case time.Month:
		return int64(v)
	}
	return 0
}

func foldInts(n int64, vs []any, f func(a, b int64) int64) int64 {
	for _, v := range vs {
		n = f(n, toInt(v))
	}
	return n
}

func seconds(s string) (float64, error) {
	d, err := time.ParseDuration(s)
	return d.Seconds(), err
}

// formatDate formats a time, or a number of seconds since 1970, in UTC.
func formatDate(layout string, v any) string {
	var t time.Time
	switch v := v.(type) {
	case time.Time:
		t = v
	case *time.Time:
		t = *v
	case int64:
		t = time.Unix(v, 0)
	case int:
		t = time.Unix(int64(v), 0)
	case int32:
		t = time.Unix(int64(v), 0)
	default:
		t = time.Now()
	}
	return t.UTC().Format(layout)
}

func dateInZone(layout, zone, s string) time.Time {
	loc, err := time.LoadLocation(zone)
	if err != nil {
		loc = time.UTC
	}
	t, _ := time.ParseInLocation(layout, s, loc)
	return t
}

// unixToTime takes days, seconds, milliseconds, microseconds or nanoseconds since 1970; the number of
// digits tells which.
func unixToTime(s string) (time.Time, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("unable to parse time '%v': %w", s, err)
	}
	switch len(s) {
	case 5:
		return time.Unix(n*86400, 0), nil
	case 10:
		return time.Unix(n, 0), nil
	case 13:
		return time.UnixMilli(n), nil
	case 16:
		return time.UnixMicro(n), nil
	case 19:
		return time.Unix(0, n), nil
	}
	return time.Time{}, fmt.Errorf("unable to parse time '%v': the number of digits is none of 5, 10, 13, 16, 19", s)
}
