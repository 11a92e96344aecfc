package frontend

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/buger/jsonparser"
	"github.com/dustin/go-humanize"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
	"example.com/loki/logql/syntax"
)

// DetectedLabel is a label and how many values it has.
type DetectedLabel struct {
	Label       string `json:"label"`
	Cardinality int    `json:"cardinality"`
}

// DetectLabels returns the labels that are useful to choose streams by: those of the streams that match,
// except labels that only hold numbers or ids. A few that are always useful stay whatever they hold.
func DetectLabels(ctx context.Context, s Service, start, end int64, matchers []*labels.Matcher) ([]DetectedLabel, error) {
	series, err := s.Series(ctx, start, end, [][]*labels.Matcher{matchers})
	if err != nil {
		return nil, err
	}
	values := map[string]map[string]bool{}
	for _, ls := range series {
		ls.Range(func(l labels.Label) {
			if values[l.Name] == nil {
				values[l.Name] = map[string]bool{}
			}
			values[l.Name][l.Value] = true
		})
	}
	var found []DetectedLabel
	for name, set := range values {
		if alwaysUseful(name) || !allIDs(set) {
			found = append(found, DetectedLabel{Label: name, Cardinality: len(set)})
		}
	}
	slices.SortFunc(found, func(a, b DetectedLabel) int { return strings.Compare(a.Label, b.Label) })
	return found, nil
}

func alwaysUseful(name string) bool {
	switch name {
	case "cluster", "namespace", "instance", "pod":
		return true
	}
	return false
}

// allIDs tells whether all values are numbers or UUIDs.
func allIDs(values map[string]bool) bool {
	for v := range values {
		if _, err := strconv.ParseFloat(v, 64); err != nil && !isUUID(v) {
			return false
		}
	}
	return true
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
				return false
			}
		}
	}
	return true
}

// DetectRequest asks which fields the lines have that a log query selects.
type DetectRequest struct {
	Query      string
	Start, End int64
	LineLimit  int // of the newest lines to look at
	Limit      int // of fields, or of values of one field
}

// DetectedField is a name that lines or their structured metadata have values for.
type DetectedField struct {
	Label       string `json:"label"`
	Type        string `json:"type"` // of the values: int, float, boolean, duration, bytes or string
	Cardinality int    `json:"cardinality"`
	// Parsers are those that find the field in lines: json, logfmt. nil for structured metadata.
	Parsers []string `json:"parsers"`
	// JSONPath is where the field lies in JSON lines.
	JSONPath []string `json:"jsonPath,omitempty"`
}

// DetectFields returns the fields that most lines of a sample have first, at most req.Limit.
func DetectFields(ctx context.Context, s Service, req *DetectRequest) ([]DetectedField, error) {
	fields, err := detect(ctx, s, req)
	if err != nil {
		return nil, err
	}
	names := slices.SortedFunc(maps.Keys(fields), func(a, b string) int {
		return cmp.Or(cmp.Compare(fields[b].rows, fields[a].rows), strings.Compare(a, b))
	})
	if req.Limit > 0 {
		names = names[:min(req.Limit, len(names))]
	}
	found := make([]DetectedField, len(names))
	for i, name := range names {
		f := fields[name]
		found[i] = DetectedField{Label: name, Type: f.kind, Cardinality: len(f.values), Parsers: f.parsers, JSONPath: f.path}
	}
	return found, nil
}

// DetectValues returns the values of a field in a sample of lines, sorted, at most req.Limit.
func DetectValues(ctx context.Context, s Service, req *DetectRequest, name string) ([]string, error) {
	fields, err := detect(ctx, s, req)
	if err != nil || fields[name] == nil {
		return nil, err
	}
	values := slices.Sorted(maps.Keys(fields[name].values))
	if req.Limit > 0 {
		values = values[:min(req.Limit, len(values))]
	}
	return values, nil
}

// field is what a sample says of a field.
type field struct {
	rows    int
	kind    string
	values  map[string]bool
	parsers []string
	path    []string
}

type fieldSet map[string]*field

// add notes a value of a field; parser is empty for structured metadata.
func (s fieldSet) add(name, value, parser string) {
	f := s[name]
	if f == nil {
		f = &field{values: map[string]bool{}}
		s[name] = f
	}
	f.rows++
	f.values[value] = true
	f.kind = commonKind(f.kind, kindOfValue(value))
	if parser != "" && !slices.Contains(f.parsers, parser) {
		f.parsers = append(f.parsers, parser)
	}
}

// detect runs the query three times over the same lines: as it is, with a JSON parser and with a logfmt
// parser behind it. The parsers drop no line, so the answers are parallel.
func detect(ctx context.Context, s Service, req *DetectRequest) (fieldSet, error) {
	expr, err := syntax.ParseLog(req.Query)
	if err != nil {
		return nil, err
	}
	p := logql.Params{Start: req.Start, End: req.End, Limit: req.LineLimit, Categorize: true}
	run := func(stage syntax.Stage) (*logql.Result, error) {
		with := *expr
		with.Stages = append(slices.Clip(expr.Stages), stage)
		p.Query = with.String()
		return s.Query(ctx, &p)
	}
	asJSON, err := run(&syntax.JSONStage{})
	if err != nil {
		return nil, err
	}
	asLogfmt, err := run(&syntax.LogfmtStage{})
	if err != nil {
		return nil, err
	}
	fields := fieldSet{}
	for i := range asJSON.Streams {
		stream := &asJSON.Streams[i]
		for j := range stream.Entries {
			entry, parser := &stream.Entries[j], "json"
			if entry.Parsed.Get("__error__") != "" {
				entry, parser = sameEntry(asLogfmt, stream, i, j), "logfmt"
			}
			if entry != nil {
				fields.addEntry(entry, parser)
			}
		}
	}
	return fields, nil
}

// sameEntry finds an entry of one answer in a parallel one. Lines may have come in between the two reads;
// then there is none.
func sameEntry(res *logql.Result, stream *logql.StreamResult, i, j int) *logql.EntryResult {
	if i >= len(res.Streams) || !labels.Equal(res.Streams[i].Labels, stream.Labels) || j >= len(res.Streams[i].Entries) {
		return nil
	}
	if e := &res.Streams[i].Entries[j]; e.Time == stream.Entries[j].Time {
		return e
	}
	return nil
}

func (s fieldSet) addEntry(entry *logql.EntryResult, parser string) {
	entry.Metadata.Range(func(l labels.Label) { s.add(l.Name, l.Value, "") })
	var paths map[string][]string
	if parser == "json" {
		paths = map[string][]string{}
		jsonPaths([]byte(entry.Line), nil, "", paths)
	}
	entry.Parsed.Range(func(l labels.Label) {
		if l.Name == "__error__" || l.Name == "__error_details__" {
			return
		}
		name := l.Name
		stem, clash := strings.CutSuffix(name, "_extracted")
		if clash && entry.Metadata.Has(stem) {
			name = stem // the same field, once as metadata and once in the line
		}
		s.add(name, l.Value, parser)
		path := paths[name]
		if path == nil {
			path = paths[stem]
		}
		if f := s[name]; f.path == nil {
			f.path = path
		}
	})
}

// maxJSONDepth bounds how deep paths are looked for.
const maxJSONDepth = 32

// jsonPaths notes the path of each value of an object by the label name that it gets.
func jsonPaths(object []byte, path []string, prefix string, found map[string][]string) {
	if len(path) >= maxJSONDepth {
		return
	}
	_ = jsonparser.ObjectEach(object, func(key, value []byte, kind jsonparser.ValueType, _ int) error {
		name := labelName(prefix, string(key))
		full := append(slices.Clip(path), string(key))
		if kind == jsonparser.Object {
			jsonPaths(value, full, name, found)
		} else if found[name] == nil {
			found[name] = full
		}
		return nil
	})
}

// labelName joins a prefix and a JSON key to a label name.
func labelName(prefix, key string) string {
	clean := strings.Map(func(r rune) rune {
		if r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, key)
	if prefix != "" {
		return prefix + "_" + clean
	}
	if clean != "" && clean[0] >= '0' && clean[0] <= '9' {
		return "_" + clean
	}
	return clean
}

// kindOfValue names the type that a value looks like.
func kindOfValue(v string) string {
	if v == "" {
		return ""
	}
	if _, err := strconv.ParseInt(v, 10, 64); err == nil {
		return "int"
	}
	if _, err := strconv.ParseFloat(v, 64); err == nil {
		return "float"
	}
	if _, err := strconv.ParseBool(v); err == nil {
		return "boolean"
	}
	if _, err := time.ParseDuration(v); err == nil {
		return "duration"
	}
	if _, err := model.ParseDuration(v); err == nil {
		return "duration"
	}
	if _, err := humanize.ParseBytes(v); err == nil {
		return "bytes"
	}
	return "string"
}

// commonKind returns the type of values of which some look like a and others like b; empty is unknown.
func commonKind(a, b string) string {
	switch {
	case a == "" || a == b:
		return b
	case b == "":
		return a
	case a == "int" && b == "float", a == "float" && b == "int":
		return "float"
	}
	return "string"
}
