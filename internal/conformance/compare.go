package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Judge returns nil if an answer is as good as the recorded one, else where it differs. By Compare:
//
//	streams         the same label sets, in each the same entries in the same order; entries with an
//	                equal time are a set
//	matrix, vector  the same series and times, numbers within tolerance; vector-ordered: in the same order
//	list-set        data is a list, compared as a set
//	json            the whole body without stats; missing, null and empty are the same
//	shape           the same keys and types
//	error           the status and what the message contains
//	status, text    only the status; the body as text
//
// The wording of __error_details__ never counts.
func (c *Case) Judge(status int, body []byte) error {
	// Where Loki answers 5xx to what is the user's mistake, a 4xx is as good.
	mistake := c.Compare == "error" && c.Status >= 500 && status >= 400
	if status != c.Status && !mistake {
		return fmt.Errorf("status: want %d, got %d: %s\nrecorded answer: %s", c.Status, status, short(body), short(c.Body))
	}
	switch c.Compare {
	case "status":
		return nil
	case "error":
		for _, want := range texts(c.Contains) {
			if !strings.Contains(strings.ToLower(string(body)), strings.ToLower(want)) {
				return fmt.Errorf("the message lacks %q: %s", want, short(body))
			}
		}
		return nil
	case "text":
		want, _ := c.Body.(string)
		if strings.TrimSpace(want) != strings.TrimSpace(string(body)) {
			return fmt.Errorf("text: want %s, got %s", short(want), short(body))
		}
		return nil
	}
	var got any
	if err := json.Unmarshal(body, &got); err != nil {
		return fmt.Errorf("the answer is not JSON (%w): %s", err, short(body))
	}
	switch c.Compare {
	case "streams":
		return c.streams(c.Body, got)
	case "matrix", "vector", "vector-ordered":
		return c.metric(c.Body, got)
	case "list-set":
		return c.list(c.Body, got)
	case "json":
		drop := append([]string{"stats"}, c.Ignore...)
		return c.tree("$", strip(c.Body, drop), strip(got, drop))
	case "shape":
		return shape("$", c.Body, got)
	}
	return fmt.Errorf("unknown way to compare: %q", c.Compare)
}

// freeText are the labels whose values are the server's own business.
var freeText = []string{"__error_details__"}

// result is what a query answers.
type result struct {
	kind  string
	rows  []any
	flags any
}

func resultOf(body any, who string) (result, error) {
	b, ok := body.(map[string]any)
	if !ok || b["status"] != "success" {
		return result{}, fmt.Errorf("%s: not a success: %s", who, short(body))
	}
	d, _ := b["data"].(map[string]any)
	rows, ok := d["result"].([]any)
	if !ok {
		return result{}, fmt.Errorf("%s: data.result is not a list: %s", who, short(body))
	}
	kind, _ := d["resultType"].(string)
	return result{kind: kind, rows: rows, flags: d["encodingFlags"]}, nil
}

func (c *Case) results(want, got any) (w, g result, err error) {
	if w, err = resultOf(want, "recorded"); err != nil {
		return
	}
	if g, err = resultOf(got, "answer"); err != nil {
		return
	}
	if w.kind != g.kind {
		err = fmt.Errorf("resultType: want %s, got %s", w.kind, g.kind)
	}
	return
}

// entry is a line of a stream. rest is everything but the time, as JSON.
type entry struct{ time, rest string }

func (c *Case) streams(want, got any) error {
	w, g, err := c.results(want, got)
	if err != nil {
		return err
	}
	if canonical(w.flags) != canonical(g.flags) {
		return fmt.Errorf("encodingFlags: want %s, got %s", short(w.flags), short(g.flags))
	}
	ws, err := c.byStream(w.rows, "recorded")
	if err != nil {
		return err
	}
	gs, err := c.byStream(g.rows, "answer")
	if err != nil {
		return err
	}
	if err := sameSet("stream", keys(ws), keys(gs)); err != nil {
		return err
	}
	for k, a := range ws {
		if err := sameEntries(k, a, gs[k]); err != nil {
			return err
		}
	}
	return nil
}

// byStream returns the entries of each label set, those of equal times in one order.
func (c *Case) byStream(rows []any, who string) (map[string][]entry, error) {
	backward := true
	for name, v := range c.Params {
		if name == "direction" {
			backward = !strings.EqualFold(values(v)[0], "forward")
		}
	}
	seen, out := map[string]bool{}, map[string][]entry{}
	for _, row := range rows {
		s, ok := row.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s: a stream must be an object: %s", who, short(row))
		}
		full, err := labelKey(s["stream"])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", who, err)
		}
		if seen[full] {
			return nil, fmt.Errorf("%s: label set appears twice: %s", who, short(full))
		}
		seen[full] = true
		values, ok := s["values"].([]any)
		if !ok {
			return nil, fmt.Errorf("%s: values must be a list: %s", who, short(row))
		}
		k := canonical(strip(s["stream"], freeText))
		_, merged := out[k] // label sets that differ only in the free text
		for _, v := range values {
			e, err := readEntry(strip(v, freeText))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", who, err)
			}
			out[k] = append(out[k], e)
		}
		if merged {
			slices.SortStableFunc(out[k], func(a, b entry) int {
				x, y := atoi(a.time), atoi(b.time)
				if backward {
					x, y = y, x
				}
				return int(max(-1, min(1, x-y)))
			})
		}
		orderTies(out[k])
	}
	return out, nil
}

// orderTies sorts the entries of each run with one time, because their order does not count.
func orderTies(es []entry) {
	for i := 0; i < len(es); {
		j := i + 1
		for j < len(es) && es[j].time == es[i].time {
			j++
		}
		sort.Slice(es[i:j], func(a, b int) bool { return es[i+a].rest < es[i+b].rest })
		i = j
	}
}

func readEntry(v any) (entry, error) {
	list, _ := v.([]any)
	if len(list) >= 2 {
		t, ok := list[0].(string)
		if _, isText := list[1].(string); ok && isText {
			return entry{t, canonical(list[1:])}, nil
		}
	}
	return entry{}, fmt.Errorf(`an entry must be ["<ns>", "<line>", …]: %s`, short(v))
}

func sameEntries(stream string, want, got []entry) error {
	for i := range max(len(want), len(got)) {
		var w, g entry
		if i < len(want) {
			w = want[i]
		}
		if i < len(got) {
			g = got[i]
		}
		if w != g {
			return fmt.Errorf("stream %s\nentry %d of %d (answer has %d)\n want %s %s\n got  %s %s",
				short(stream), i, len(want), len(got), w.time, short(w.rest), g.time, short(g.rest))
		}
	}
	return nil
}

// series is a row of a metric query's answer.
type series struct {
	key    string
	points []any
}

func (c *Case) metric(want, got any) error {
	w, g, err := c.results(want, got)
	if err != nil {
		return err
	}
	if w.kind == "scalar" { // only the value counts
		_, a, err := point(w.rows)
		if err != nil {
			return err
		}
		_, b, err := point(g.rows)
		if err != nil {
			return err
		}
		if !c.equal(a, b) {
			return fmt.Errorf("scalar: want %v, got %v", a, b)
		}
		return nil
	}
	ws, err := c.series(w, "recorded")
	if err != nil {
		return err
	}
	gs, err := c.series(g, "answer")
	if err != nil {
		return err
	}
	names := func(ss []series) []string {
		out := make([]string, len(ss))
		for i, s := range ss {
			out[i] = s.key
		}
		return out
	}
	if err := sameSet("series", names(ws), names(gs)); err != nil {
		return err
	}
	if c.Compare == "vector-ordered" && !slices.Equal(names(ws), names(gs)) {
		return fmt.Errorf("order of series: want %s\n                 got  %s", short(names(ws)), short(names(gs)))
	}
	byKey := map[string][]series{}
	for _, s := range gs {
		byKey[s.key] = append(byKey[s.key], s)
	}
	for _, s := range ws {
		if err := c.points(s, byKey[s.key][0]); err != nil {
			return err
		}
		byKey[s.key] = byKey[s.key][1:]
	}
	return nil
}

func (c *Case) series(r result, who string) ([]series, error) {
	out := make([]series, 0, len(r.rows))
	for _, row := range r.rows {
		m, _ := row.(map[string]any)
		if _, err := labelKey(m["metric"]); err != nil {
			return nil, fmt.Errorf("%s: %w", who, err)
		}
		labels := m["metric"].(map[string]any)
		if !strings.Contains(c.Path, "/index/volume") { // elsewhere an empty value is no label
			kept := map[string]any{}
			for k, v := range labels {
				if v != "" {
					kept[k] = v
				}
			}
			labels = kept
		}
		s := series{key: canonical(labels)}
		if r.kind == "matrix" {
			points, ok := m["values"].([]any)
			if !ok {
				return nil, fmt.Errorf("%s: values must be a list: %s", who, short(row))
			}
			s.points = points
		} else {
			s.points = []any{m["value"]}
		}
		out = append(out, s)
	}
	return out, nil
}

func (c *Case) points(want, got series) error {
	for i := range max(len(want.points), len(got.points)) {
		if i >= len(want.points) || i >= len(got.points) {
			return fmt.Errorf("series %s\n want %d samples, got %d", short(want.key), len(want.points), len(got.points))
		}
		wt, wv, err := point(want.points[i])
		if err != nil {
			return fmt.Errorf("recorded: %w", err)
		}
		gt, gv, err := point(got.points[i])
		if err != nil {
			return fmt.Errorf("answer: %w", err)
		}
		if math.Abs(wt-gt) > 1e-6 || !c.equal(wv, gv) {
			return fmt.Errorf("series %s\n sample %d: want %s, got %s", short(want.key), i, short(want.points[i]), short(got.points[i]))
		}
	}
	return nil
}

func point(v any) (t, f float64, err error) {
	list, _ := v.([]any)
	if len(list) == 2 {
		t, isNumber := list[0].(float64)
		text, isText := list[1].(string)
		if isNumber && isText {
			f, err = strconv.ParseFloat(text, 64)
			if errors.Is(err, strconv.ErrRange) {
				err = nil
			}
			return t, f, err
		}
	}
	return 0, 0, fmt.Errorf(`a sample must be [<seconds>, "<number>"]: %s`, short(v))
}

func (c *Case) list(want, got any) error {
	data := func(v any) ([]any, error) {
		b, _ := v.(map[string]any)
		if b["status"] != "success" {
			return nil, fmt.Errorf("not a success: %s", short(v))
		}
		list, ok := b["data"].([]any)
		if !ok && b["data"] != nil {
			return nil, fmt.Errorf("data must be a list: %s", short(v))
		}
		return list, nil
	}
	w, err := data(want)
	if err != nil {
		return fmt.Errorf("recorded: %w", err)
	}
	g, err := data(got)
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	ws, extra := canonicals(w), canonicals(c.ExtraOK)
	gs := slices.DeleteFunc(canonicals(g), func(e string) bool {
		return slices.Contains(extra, e) && !slices.Contains(ws, e)
	})
	return sameSet("element", ws, gs)
}

// tree compares two JSON values.
func (c *Case) tree(where string, want, got any) error {
	switch w := want.(type) {
	case float64:
		if g, ok := got.(float64); !ok || !c.equal(w, g) {
			return fmt.Errorf("%s: want %s, got %s", where, short(want), short(got))
		}
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return fmt.Errorf("%s: want an object, got %s", where, short(got))
		}
		for k, v := range w {
			if other, ok := g[k]; !ok && !empty(v) {
				return fmt.Errorf("%s.%s is missing; want %s", where, k, short(v))
			} else if ok {
				if err := c.tree(where+"."+k, v, other); err != nil {
					return err
				}
			}
		}
		for k, v := range g {
			if _, ok := w[k]; !ok && !empty(v) {
				return fmt.Errorf("%s.%s is unexpected: %s", where, k, short(v))
			}
		}
	case []any:
		g, ok := got.([]any)
		if !ok && got != nil {
			return fmt.Errorf("%s: want a list, got %s", where, short(got))
		}
		return c.lists(where, w, g)
	default:
		blank := func(v any) bool { return v == nil || v == "" }
		if blank(want) && blank(got) {
			return nil
		}
		switch got.(type) {
		case map[string]any, []any:
			return fmt.Errorf("%s: want %s, got %s", where, short(want), short(got))
		}
		if want != got {
			return fmt.Errorf("%s: want %s, got %s", where, short(want), short(got))
		}
	}
	return nil
}

func (c *Case) lists(where string, w, g []any) error {
	if c.Unordered {
		key := func(v any) string {
			if m, ok := v.(map[string]any); ok && c.Key != "" {
				if id, ok := m[c.Key]; ok {
					return canonical(id)
				}
			}
			return canonical(v)
		}
		sorted := func(list []any) []any {
			list = slices.Clone(list)
			slices.SortFunc(list, func(a, b any) int { return strings.Compare(key(a), key(b)) })
			return list
		}
		w, g = sorted(w), sorted(g)
	}
	if len(w) != len(g) {
		return fmt.Errorf("%s: want %d elements, got %d\n want %s\n got  %s", where, len(w), len(g), short(w), short(g))
	}
	for i := range w {
		if err := c.tree(fmt.Sprintf("%s[%d]", where, i), w[i], g[i]); err != nil {
			return err
		}
	}
	return nil
}

// shape compares keys and types.
func shape(where string, want, got any) error {
	if want == nil {
		return nil
	}
	if fmt.Sprintf("%T", want) != fmt.Sprintf("%T", got) {
		return fmt.Errorf("%s: want something like %s, got %s", where, short(want), short(got))
	}
	switch w := want.(type) {
	case map[string]any:
		g := got.(map[string]any)
		for k := range w {
			if _, ok := g[k]; !ok {
				return fmt.Errorf("%s.%s is missing", where, k)
			}
			if err := shape(where+"."+k, w[k], g[k]); err != nil {
				return err
			}
		}
	case []any:
		for i, e := range got.([]any) {
			if len(w) == 0 {
				break
			}
			if err := shape(fmt.Sprintf("%s[%d]", where, i), w[min(i, len(w)-1)], e); err != nil {
				return err
			}
		}
	}
	return nil
}

// equal compares numbers; NaN equals NaN.
func (c *Case) equal(a, b float64) bool {
	rtol, atol := 1e-9, 1e-9
	if c.RTol != nil {
		rtol = *c.RTol
	}
	if c.ATol != nil {
		atol = *c.ATol
	}
	switch {
	case math.IsNaN(a) || math.IsNaN(b):
		return math.IsNaN(a) && math.IsNaN(b)
	case math.IsInf(a, 0) || math.IsInf(b, 0):
		return a == b
	}
	return math.Abs(a-b) <= max(atol, rtol*max(math.Abs(a), math.Abs(b)))
}

// strip returns v without the keys in drop, at any depth.
func strip(v any, drop []string) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			if !slices.Contains(drop, k) {
				out[k] = strip(e, drop)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = strip(e, drop)
		}
		return out
	}
	return v
}

func labelKey(v any) (string, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return "", fmt.Errorf("labels must be an object: %s", short(v))
	}
	for k, e := range m {
		if _, ok := e.(string); !ok {
			return "", fmt.Errorf("label %s must be a text: %s", k, short(e))
		}
	}
	return canonical(m), nil
}

// sameSet compares two sets in which an element may be several times.
func sameSet(what string, want, got []string) error {
	count := map[string]int{}
	for _, k := range want {
		count[k]++
	}
	for _, k := range got {
		count[k]--
	}
	var diffs []string
	for k, n := range count {
		switch {
		case n > 0:
			diffs = append(diffs, fmt.Sprintf("missing %s (x%d): %s", what, n, short(k)))
		case n < 0:
			diffs = append(diffs, fmt.Sprintf("unexpected %s (x%d): %s", what, -n, short(k)))
		}
	}
	if len(diffs) == 0 {
		return nil
	}
	slices.Sort(diffs)
	if len(diffs) > 12 {
		diffs = append(diffs[:12], fmt.Sprintf("… and %d more", len(diffs)-12))
	}
	return errors.New(strings.Join(diffs, "\n"))
}

func keys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}

func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		out := make([]string, 0, len(v))
		for _, e := range v {
			if s, ok := e.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

// canonical is JSON with sorted keys.
func canonical(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

func canonicals(list []any) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = canonical(v)
	}
	return out
}

func short(v any) string {
	var s string
	switch v := v.(type) {
	case string:
		s = v
	case []byte:
		s = string(v)
	default:
		s = canonical(v)
	}
	s = strings.NewReplacer("\n", `\n`, "\x1b", `\e`).Replace(s)
	if len(s) > 300 {
		s = fmt.Sprintf("%s…(+%d)", s[:300], len(s)-300)
	}
	return s
}

func atoi(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64) // 0 for what is no time; such an entry differs anyway
	return n
}
