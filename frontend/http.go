package frontend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/grafana/dskit/tenant"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/ingester"
	"example.com/loki/internal/lokihttp"
	"example.com/loki/internal/route"
	"example.com/loki/internal/wire"
	"example.com/loki/limits"
	"example.com/loki/logql"
	"example.com/loki/logql/syntax"
	"example.com/loki/querier"
	"example.com/loki/scheduler"
)

// handler serves a Service over HTTP.
type handler struct {
	cfg     Config
	service Service
	limits  limits.Provider
	log     *slog.Logger
}

// Routes returns the read API of Loki over any Service. The handlers expect the tenant in the context.
func Routes(cfg Config, s Service, lim limits.Provider, logger *slog.Logger) []route.Route {
	cfg, _ = cfg.check() // New has reported what is wrong with it
	if lim == nil {
		lim = limits.Fixed(limits.Default())
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	h := &handler{cfg: cfg, service: s, limits: lim, log: logger}
	var routes []route.Route
	add := func(path string, answer func(w http.ResponseWriter, r *http.Request, f url.Values) error) {
		routes = append(routes, route.Route{Path: path, Handler: h.serve(answer), Tenant: true, Tenants: cfg.MultiTenant})
	}
	add("/loki/api/v1/query_range", h.queryRange)
	add("/loki/api/v1/query", h.queryInstant)
	add("/loki/api/v1/labels", h.labels)
	add("/loki/api/v1/label", h.labels)
	add("/loki/api/v1/label/{name}/values", h.labelValues)
	add("/loki/api/v1/series", h.series)
	add("/loki/api/v1/index/stats", h.indexStats)
	add("/loki/api/v1/index/shards", h.indexShards)
	add("/loki/api/v1/index/volume", h.volume)
	add("/loki/api/v1/index/volume_range", h.volumeRange)
	add("/loki/api/v1/detected_labels", h.detectedLabels)
	add("/loki/api/v1/detected_fields", h.detectedFields)
	add("/loki/api/v1/detected_field/{name}/values", h.detectedValues)
	add("/loki/api/v1/patterns", h.patterns)
	add("/loki/api/v1/drilldown-limits", h.drilldownLimits)
	add(tenantLimitsPath, h.tenantLimits)
	add("/api/prom/query", h.queryOld)
	add("/api/prom/label", h.labelsOld)
	add("/api/prom/label/{name}/values", h.labelValuesOld)
	add("/api/prom/series", h.series)
	routes = append(routes, route.Route{Path: "/loki/api/v1/format_query", Handler: http.HandlerFunc(h.formatQuery)})
	for _, path := range []string{"/loki/api/v1/tail", "/api/prom/tail"} {
		routes = append(routes, route.Route{
			Methods: []string{http.MethodGet}, Path: path, Handler: h.serve(h.tail), Tenant: true, Streaming: true,
		})
	}
	return routes
}

// serve reads the parameters, calls answer and turns its error into a response. answer returns an error
// only as long as it has written nothing.
func (h *handler) serve(answer func(w http.ResponseWriter, r *http.Request, f url.Values) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := lokihttp.Form(w, r)
		if err == nil {
			err = answer(w, r.WithContext(withTags(r.Context(), tagsOf(r.Header))), f)
		}
		if err == nil {
			return
		}
		status := statusOf(err)
		if ctx := r.Context(); ctx.Err() != nil {
			// Either the client is gone or the server stops: then it had better ask elsewhere.
			status = lokihttp.StatusClientClosed
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
				status, err = http.StatusServiceUnavailable, cause
			}
		}
		if status == http.StatusInternalServerError {
			h.log.Error("request failed", "path", r.URL.Path, "error", err)
		}
		lokihttp.WriteError(w, status, err.Error())
	})
}

// statusOf returns the status code of the answer to a call that has ended with err.
func statusOf(err error) int {
	switch {
	case err == nil:
		return http.StatusOK
	case errors.Is(err, ErrLimit):
		return http.StatusBadRequest
	case errors.Is(err, ingester.ErrNotReady), errors.Is(err, scheduler.ErrStopped), errors.Is(err, querier.ErrStale), wire.IsUnavailable(err):
		return http.StatusServiceUnavailable
	}
	return lokihttp.Status(err)
}

// tagsOf returns the tags of a query, without anything that could confuse readers of the log.
func tagsOf(h http.Header) string {
	tags := h.Get("X-Query-Tags")
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("-_=,. ", r):
			return r
		}
		return '_'
	}, tags[:min(len(tags), 1024)])
}

func jsonHeader(w http.ResponseWriter) {
	w.Header().Set("Content-Type", lokihttp.ContentType)
}

// The errors of encoding below are those of writing to the client; if that is gone there is nothing to do.

func (h *handler) queryRange(w http.ResponseWriter, r *http.Request, f url.Values) error {
	p, err := lokihttp.RangeParams(f, h.cfg.Now())
	if err != nil {
		return err
	}
	return h.query(w, r, p)
}

func (h *handler) queryInstant(w http.ResponseWriter, r *http.Request, f url.Values) error {
	p, err := lokihttp.InstantParams(f, h.cfg.Now())
	if err != nil {
		return err
	}
	return h.query(w, r, p)
}

func (h *handler) query(w http.ResponseWriter, r *http.Request, p logql.Params) error {
	p.Categorize = lokihttp.Categorize(r.Header)
	res, err := h.service.Query(r.Context(), &p)
	if err != nil {
		return err
	}
	jsonHeader(w)
	_ = lokihttp.EncodeResult(w, res, p.Categorize)
	return nil
}

// queryOld serves the query endpoint that came before version 1: log queries only, with an optional
// regular expression apart from the selector.
func (h *handler) queryOld(w http.ResponseWriter, r *http.Request, f url.Values) error {
	p, err := lokihttp.RangeParams(f, h.cfg.Now())
	if err != nil {
		return err
	}
	if expression := f.Get("regexp"); expression != "" {
		p.Query += " |~ " + strconv.Quote(expression)
	}
	if _, err := syntax.ParseLog(p.Query); err != nil {
		return err
	}
	res, err := h.service.Query(r.Context(), &p)
	if err != nil {
		return err
	}
	jsonHeader(w)
	_ = lokihttp.EncodeOld(w, res)
	return nil
}

// lookup reads what the endpoints that list labels share: a range of time and an optional selector.
func (h *handler) lookup(f url.Values) (start, end int64, matchers []*labels.Matcher, err error) {
	if start, end, err = lokihttp.Bounds(f, h.cfg.Now()); err != nil {
		return 0, 0, nil, err
	}
	if query := f.Get("query"); query != "" {
		matchers, err = syntax.ParseMatchers(query)
	}
	return start, end, matchers, err
}

func (h *handler) listLabels(r *http.Request, f url.Values) ([]string, error) {
	start, end, matchers, err := h.lookup(f)
	if err != nil {
		return nil, err
	}
	if name := r.PathValue("name"); name != "" {
		return h.service.LabelValues(r.Context(), name, start, end, matchers)
	}
	return h.service.Labels(r.Context(), start, end, matchers)
}

func (h *handler) labels(w http.ResponseWriter, r *http.Request, f url.Values) error {
	names, err := h.listLabels(r, f)
	if err != nil {
		return err
	}
	jsonHeader(w)
	_ = lokihttp.EncodeStrings(w, names)
	return nil
}

func (h *handler) labelValues(w http.ResponseWriter, r *http.Request, f url.Values) error {
	return h.labels(w, r, f)
}

func (h *handler) labelsOld(w http.ResponseWriter, r *http.Request, f url.Values) error {
	names, err := h.listLabels(r, f)
	if err != nil {
		return err
	}
	jsonHeader(w)
	_ = lokihttp.EncodeOldStrings(w, names)
	return nil
}

func (h *handler) labelValuesOld(w http.ResponseWriter, r *http.Request, f url.Values) error {
	return h.labelsOld(w, r, f)
}

func (h *handler) series(w http.ResponseWriter, r *http.Request, f url.Values) error {
	start, end, err := lokihttp.Bounds(f, h.cfg.Now())
	if err != nil {
		return err
	}
	selectors := append(f["match[]"], f["match"]...)
	if len(selectors) == 0 {
		return &lokihttp.ParamError{Text: "the parameter match[] is missing: give at least one stream selector, or {} for all streams"}
	}
	sets := make([][]*labels.Matcher, len(selectors))
	for i, s := range selectors {
		if strings.TrimSpace(s) == "{}" {
			continue
		}
		if sets[i], err = syntax.ParseMatchers(s); err != nil {
			return err
		}
	}
	series, err := h.service.Series(r.Context(), start, end, sets)
	if err != nil {
		return err
	}
	jsonHeader(w)
	_ = lokihttp.EncodeSeries(w, series)
	return nil
}

func (h *handler) indexStats(w http.ResponseWriter, r *http.Request, f url.Values) error {
	start, end, matchers, err := h.selection(f)
	if err != nil {
		return err
	}
	s, err := h.service.IndexStats(r.Context(), start, end, matchers)
	if err != nil {
		return err
	}
	jsonHeader(w)
	_ = lokihttp.EncodeNumbers(w, []string{"streams", "chunks", "bytes", "entries"}, []int64{s.Streams, s.Chunks, s.Bytes, s.Entries})
	return nil
}

// defaultShardBytes is what a shard has if the client doesn't say.
const defaultShardBytes = 600_000_000

func (h *handler) indexShards(w http.ResponseWriter, r *http.Request, f url.Values) error {
	begin := time.Now()
	start, end, matchers, err := h.selection(f)
	if err != nil {
		return err
	}
	target := uint64(defaultShardBytes)
	if s := f.Get("targetBytesPerShard"); s != "" {
		if target, err = humanize.ParseBytes(s); err != nil || target == 0 || target > math.MaxInt64 {
			return &lokihttp.ParamError{Text: fmt.Sprintf("targetBytesPerShard must be a positive number of bytes, as in 600MB, not %q", s)}
		}
	}
	shards, err := h.service.IndexShards(r.Context(), start, end, matchers, int64(target))
	if err != nil {
		return err
	}
	answer := make([]lokihttp.Shard, len(shards))
	for i, s := range shards {
		answer[i] = lokihttp.Shard{Min: s.Min, Max: s.Max, Streams: s.Streams, Chunks: s.Chunks, Bytes: s.Bytes, Entries: s.Entries}
	}
	jsonHeader(w)
	_ = lokihttp.EncodeShards(w, answer, &logql.Stats{ExecTime: time.Since(begin)})
	return nil
}

// selection is lookup with a selector that must be there.
func (h *handler) selection(f url.Values) (start, end int64, matchers []*labels.Matcher, err error) {
	if start, end, err = lokihttp.Bounds(f, h.cfg.Now()); err != nil {
		return 0, 0, nil, err
	}
	matchers, err = syntax.ParseMatchers(f.Get("query"))
	return start, end, matchers, err
}

func (h *handler) volume(w http.ResponseWriter, r *http.Request, f url.Values) error {
	return h.volumes(w, r, f, func(int64, int64) (time.Duration, error) { return 0, nil })
}

func (h *handler) volumeRange(w http.ResponseWriter, r *http.Request, f url.Values) error {
	return h.volumes(w, r, f, func(start, end int64) (time.Duration, error) { return lokihttp.Step(f, start, end) })
}

func (h *handler) volumes(w http.ResponseWriter, r *http.Request, f url.Values, step func(start, end int64) (time.Duration, error)) error {
	req := &VolumeRequest{}
	var err error
	if req.Start, req.End, req.Matchers, err = h.selection(f); err != nil {
		return err
	}
	if req.Step, err = step(req.Start, req.End); err != nil {
		return err
	}
	if req.Limit, err = lokihttp.Limit(f, "limit", defaultVolumeLimit); err != nil {
		return err
	}
	for name := range strings.SplitSeq(f.Get("targetLabels"), ",") {
		if name = strings.TrimSpace(name); name != "" {
			req.TargetLabels = append(req.TargetLabels, name)
		}
	}
	switch f.Get("aggregateBy") {
	case "", "series":
	case "labels":
		req.ByLabel = true
	default:
		return &lokihttp.ParamError{Text: "invalid aggregation option: aggregateBy is series or labels"}
	}
	res, err := h.service.Volume(r.Context(), req)
	if err != nil {
		return err
	}
	jsonHeader(w)
	_ = lokihttp.EncodeResult(w, res, false)
	return nil
}

// drilldownLimits tells Grafana's Logs Drilldown what it may ask for.
func (h *handler) drilldownLimits(w http.ResponseWriter, r *http.Request, _ url.Values) error {
	ids, err := tenant.TenantIDs(r.Context())
	if err != nil {
		return err
	}
	jsonHeader(w)
	_ = lokihttp.EncodeDrilldownLimits(w, limitsOf(h.limits, ids))
	return nil
}

// tenantLimitsPath is of every process, as Loki has it.
const tenantLimitsPath = "/config/tenant/v1/limits"

// tenantLimits shows what a tenant may do.
func (h *handler) tenantLimits(w http.ResponseWriter, r *http.Request, _ url.Values) error {
	ids, err := tenant.TenantIDs(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_ = lokihttp.EncodeTenantLimits(w, limitsOf(h.limits, ids))
	return nil
}

// formatQuery is the one endpoint whose errors are JSON.
func (h *handler) formatQuery(w http.ResponseWriter, r *http.Request) {
	f, err := lokihttp.Form(w, r)
	if err != nil {
		lokihttp.WriteError(w, statusOf(err), err.Error())
		return
	}
	expr, err := syntax.Parse(f.Get("query"))
	jsonHeader(w)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		_ = lokihttp.EncodeFields(w, "status", "invalid-query", "error", err.Error())
		return
	}
	_ = lokihttp.EncodeFields(w, "status", "success", "data", syntax.Format(expr))
}
