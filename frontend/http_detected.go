package frontend

import (
	"net/http"
	"net/url"

	"github.com/grafana/dskit/tenant"

	"example.com/loki/internal/lokihttp"
)

const defaultFieldLimit = 1000

func (h *handler) detectedLabels(w http.ResponseWriter, r *http.Request, f url.Values) error {
	start, end, matchers, err := h.lookup(f)
	if err != nil {
		return err
	}
	found, err := DetectLabels(r.Context(), h.service, start, end, matchers)
	if err != nil {
		return err
	}
	jsonHeader(w)
	_ = lokihttp.EncodeAny(w, struct {
		Labels []DetectedLabel `json:"detectedLabels,omitempty"`
	}{found})
	return nil
}

// detectRequest reads the parameters of the endpoints that look for fields.
func (h *handler) detectRequest(f url.Values) (*DetectRequest, error) {
	req := &DetectRequest{Query: f.Get("query")}
	var err error
	if req.Start, req.End, err = lokihttp.Bounds(f, h.cfg.Now()); err != nil {
		return nil, err
	}
	if req.LineLimit, err = lokihttp.Limit(f, "line_limit", lokihttp.DefaultLimit); err != nil {
		return nil, err
	}
	name := "limit"
	if f.Get(name) == "" {
		name = "field_limit" // its old name
	}
	req.Limit, err = lokihttp.Limit(f, name, defaultFieldLimit)
	return req, err
}

func (h *handler) detectedFields(w http.ResponseWriter, r *http.Request, f url.Values) error {
	req, err := h.detectRequest(f)
	if err != nil {
		return err
	}
	found, err := DetectFields(r.Context(), h.service, req)
	if err != nil {
		return err
	}
	answer := struct {
		Fields []DetectedField `json:"fields,omitempty"`
		Limit  int             `json:"limit,omitempty"`
	}{Fields: found}
	if len(found) > 0 {
		answer.Limit = req.Limit
	}
	jsonHeader(w)
	_ = lokihttp.EncodeAny(w, answer)
	return nil
}

func (h *handler) detectedValues(w http.ResponseWriter, r *http.Request, f url.Values) error {
	req, err := h.detectRequest(f)
	if err != nil {
		return err
	}
	values, err := DetectValues(r.Context(), h.service, req, r.PathValue("name"))
	if err != nil {
		return err
	}
	answer := struct {
		Values []string `json:"values,omitempty"`
		Limit  int      `json:"limit,omitempty"`
	}{Values: values}
	if len(values) > 0 {
		answer.Limit = req.Limit
	}
	jsonHeader(w)
	_ = lokihttp.EncodeAny(w, answer)
	return nil
}

func (h *handler) patterns(w http.ResponseWriter, r *http.Request, f url.Values) error {
	req := &PatternRequest{Query: f.Get("query")}
	var err error
	if req.Start, req.End, err = lokihttp.Bounds(f, h.cfg.Now()); err != nil {
		return err
	}
	if req.Step, err = lokihttp.Step(f, req.Start, req.End); err != nil {
		return err
	}
	ids, err := tenant.TenantIDs(r.Context())
	if err != nil {
		return err
	}
	if most := limitsOf(h.limits, ids).MaxEntriesLimitPerQuery; most > 0 {
		req.LineLimit = min(defaultPatternLines, most)
	}
	found, err := DetectPatterns(r.Context(), h.service, req)
	if err != nil {
		return err
	}
	type series struct {
		Pattern string     `json:"pattern"`
		Level   string     `json:"level"`
		Samples [][2]int64 `json:"samples"`
	}
	answer := struct {
		Status string   `json:"status"`
		Data   []series `json:"data"`
	}{"success", make([]series, len(found))}
	for i, p := range found {
		answer.Data[i] = series{Pattern: p.Pattern, Level: p.Level}
		for _, s := range p.Samples {
			answer.Data[i].Samples = append(answer.Data[i].Samples, [2]int64{s.Time, s.Count})
		}
	}
	jsonHeader(w)
	_ = lokihttp.EncodeAny(w, answer)
	return nil
}
