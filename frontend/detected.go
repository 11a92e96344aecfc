package frontend

import (
	"context"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
	"example.com/loki/logql/detect"
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
	var found []DetectedLabel
	for _, l := range detect.Labels(series) {
		found = append(found, DetectedLabel{Label: l.Name, Cardinality: l.Cardinality})
	}
	return found, nil
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
	fields, err := detectFields(ctx, s, req)
	if err != nil {
		return nil, err
	}
	if req.Limit > 0 {
		fields = fields[:min(req.Limit, len(fields))]
	}
	found := make([]DetectedField, len(fields))
	for i, f := range fields {
		found[i] = DetectedField{Label: f.Name, Type: string(f.Type), Cardinality: len(f.Values), Parsers: f.Parsers, JSONPath: f.JSONPath}
	}
	return found, nil
}

// DetectValues returns the values of a field in a sample of lines, sorted, at most req.Limit.
func DetectValues(ctx context.Context, s Service, req *DetectRequest, name string) ([]string, error) {
	fields, err := detectFields(ctx, s, req)
	if err != nil {
		return nil, err
	}
	for _, f := range fields {
		if f.Name == name {
			if req.Limit > 0 {
				return f.Values[:min(req.Limit, len(f.Values))], nil
			}
			return f.Values, nil
		}
	}
	return nil, nil
}

// detectFields looks at the newest lines.
func detectFields(ctx context.Context, s Service, req *DetectRequest) ([]detect.Field, error) {
	if _, err := syntax.ParseLog(req.Query); err != nil {
		return nil, err
	}
	res, err := s.Query(ctx, &logql.Params{Query: req.Query, Start: req.Start, End: req.End, Limit: req.LineLimit, Categorize: true})
	if err != nil {
		return nil, err
	}
	return detect.Fields(ctx, res.Streams)
}
