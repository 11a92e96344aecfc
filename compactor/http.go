package compactor

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"example.com/loki/internal/route"
)

// Routes returns the HTTP endpoints: Loki's delete API, and a preview of what retention will drop.
func Routes(s Service, now func() time.Time, logger *slog.Logger) []route.Route {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if now == nil {
		now = time.Now
	}
	h := &handlers{s, now, logger}
	all := []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete}
	return []route.Route{
		{Methods: all, Path: "/loki/api/v1/delete", Handler: http.HandlerFunc(h.deletes), Tenant: true},
		{Methods: all[:1], Path: "/loki/api/v1/cache/generation_numbers", Handler: http.HandlerFunc(h.generations), Tenant: true},
		{Methods: all[:1], Path: "/loki/api/v1/retention/preview", Handler: http.HandlerFunc(h.preview), Tenant: true},
		{Methods: all[:1], Path: "/loki/api/v1/segments/damaged", Handler: http.HandlerFunc(h.damaged), Tenant: true},
	}
}

type handlers struct {
	service Service
	now     func() time.Time
	log     *slog.Logger
}

// deletes makes, lists and cancels delete requests.
func (h *handlers) deletes(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet:
		h.list(w, r)
	case http.MethodDelete:
		h.cancel(w, r)
	default:
		h.add(w, r)
	}
}

func (h *handlers) add(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	query := r.Form.Get("query")
	start, end, err := h.times(r, query)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if _, err := h.service.Delete(r.Context(), query, start, end); err != nil {
		h.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// times reads the range of a delete request.
func (h *handlers) times(r *http.Request, query string) (start, end int64, err error) {
	if query == "" {
		return 0, 0, errors.New("query not set")
	}
	s := r.Form.Get("start")
	if s == "" {
		return 0, 0, errors.New("start time not set")
	}
	if start, err = parseTime(s); err != nil {
		return 0, 0, fmt.Errorf("invalid start time: require unix seconds or RFC3339 format")
	}
	now := h.now().UnixNano()
	end = now
	if s := r.Form.Get("end"); s != "" {
		if end, err = parseTime(s); err != nil {
			return 0, 0, fmt.Errorf("invalid end time: require unix seconds or RFC3339 format")
		}
		if end > now+int64(time.Second) {
			return 0, 0, errors.New("deletes in the future are not allowed")
		}
	}
	if start > end {
		return 0, 0, errors.New("start time can't be greater than end time")
	}
	// Long requests need no splitting here; the parameter is checked for who sends it.
	if s := r.Form.Get("max_interval"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, 0, errors.New("invalid max_interval: valid time units are 's', 'm', 'h'")
		}
		if d <= 0 {
			return 0, 0, errors.New("invalid max_interval: it must be positive")
		}
	}
	return start, end, nil
}

// parseTime reads seconds since 1970, with a fraction or without, or RFC 3339. It is exact to the nanosecond: a
// delete request must not take more than it says. Whole seconds as an end mean no more than their beginning.
func parseTime(s string) (int64, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err == nil {
		return nanoseconds(t.Unix(), int64(t.Nanosecond()))
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && strings.ContainsAny(s, "eE") && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return nanoseconds(int64(f), 0)
	}
	whole, fraction, some := strings.Cut(s, ".")
	if fraction = strings.TrimRight(fraction, "0"); len(fraction) > nanoDigits || some && whole == "" {
		return 0, errTime
	}
	seconds, err := strconv.ParseUint(whole, 10, 63)
	if err != nil {
		return 0, errTime
	}
	nanos, err := strconv.ParseUint(fraction+strings.Repeat("0", nanoDigits-len(fraction)), 10, 63)
	if err != nil {
		return 0, errTime
	}
	return nanoseconds(int64(seconds), int64(nanos))
}

const nanoDigits = 9 // of a fraction of a second

var errTime = errors.New("no time that can be told in nanoseconds since 1970")

// nanoseconds refuses times before 1970, and those that nanoseconds can't tell.
func nanoseconds(seconds, nanos int64) (int64, error) {
	if seconds < 0 || seconds >= math.MaxInt64/int64(time.Second) {
		return 0, errTime
	}
	return seconds*int64(time.Second) + nanos, nil
}

// wireRequest is a delete request as Loki tells it.
type wireRequest struct {
	ID        string     `json:"request_id"`
	StartTime model.Time `json:"start_time"`
	EndTime   model.Time `json:"end_time"`
	Query     string     `json:"query"`
	Status    string     `json:"status"`
	CreatedAt model.Time `json:"created_at"`
}

func (h *handlers) list(w http.ResponseWriter, r *http.Request) {
	lo, hi := int64(math.MinInt64), int64(math.MaxInt64)
	var err error
	for _, p := range []struct {
		name string
		to   *int64
	}{{"start", &lo}, {"end", &hi}} {
		if s := r.URL.Query().Get(p.name); s != "" {
			if *p.to, err = parseTime(s); err != nil {
				http.Error(w, "invalid "+p.name+" time: require unix seconds or RFC3339 format", http.StatusBadRequest)
				return
			}
		}
	}
	list, err := h.service.Requests(r.Context())
	if err != nil {
		h.fail(w, r, err)
		return
	}
	out := make([]wireRequest, 0, len(list))
	for _, q := range list {
		if q.End < lo || q.Start > hi {
			continue
		}
		out = append(out, wireRequest{
			ID: q.ID, StartTime: model.TimeFromUnixNano(q.Start), EndTime: model.TimeFromUnixNano(q.End), Query: q.Query,
			Status: q.Status(), CreatedAt: model.TimeFromUnixNano(q.Created.UnixNano()),
		})
	}
	h.answer(w, r, out)
}

func (h *handlers) cancel(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	id := q.Get("request_id")
	if id == "" {
		http.Error(w, "request_id not set", http.StatusBadRequest)
		return
	}
	force := false
	if s := q.Get("force"); s != "" {
		var err error
		if force, err = strconv.ParseBool(s); err != nil {
			http.Error(w, "invalid force: require true or false", http.StatusBadRequest)
			return
		}
	}
	if err := h.service.Cancel(r.Context(), id, force); err != nil {
		h.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// generations is asked by Loki's own queriers to find out whether what they cache is still true. Nothing
// that is deleted is cached here.
func (h *handlers) generations(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`""`)) // the client is gone if this fails
}

// wirePlanned is a segment that retention will drop.
type wirePlanned struct {
	Segment string    `json:"segment"`
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Rows    int64     `json:"rows"`
	Bytes   int64     `json:"bytes"`
	At      time.Time `json:"at"`
	Partly  bool      `json:"partly"`
	Reason  string    `json:"reason"`
}

func (h *handlers) preview(w http.ResponseWriter, r *http.Request) {
	within := 24 * time.Hour
	if s := r.URL.Query().Get("within"); s != "" {
		d, err := model.ParseDuration(strings.TrimSpace(s))
		if err != nil {
			http.Error(w, "invalid within: "+err.Error(), http.StatusBadRequest)
			return
		}
		within = time.Duration(d)
	}
	list, err := h.service.Preview(r.Context(), within)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	out := make([]wirePlanned, 0, len(list))
	for _, p := range list {
		out = append(out, wirePlanned{
			p.Segment.String(), time.Unix(0, p.MinTime).UTC(), time.Unix(0, p.MaxTime).UTC(), p.Rows, p.Bytes, p.At, p.Partly, p.Reason,
		})
	}
	h.answer(w, r, out)
}

// wireDamage is a segment that failed its verification.
type wireDamage struct {
	Segment string    `json:"segment"`
	Found   time.Time `json:"found"`
	Error   string    `json:"error"`
}

func (h *handlers) damaged(w http.ResponseWriter, r *http.Request) {
	list, err := h.service.Damaged(r.Context())
	if err != nil {
		h.fail(w, r, err)
		return
	}
	out := make([]wireDamage, 0, len(list))
	for _, d := range list {
		out = append(out, wireDamage{d.Segment.String(), d.Found, d.Err.Error()})
	}
	h.answer(w, r, out)
}

func (h *handlers) answer(w http.ResponseWriter, r *http.Request, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(data) // the client is gone if this fails
}

func (h *handlers) fail(w http.ResponseWriter, r *http.Request, err error) {
	code := http.StatusInternalServerError
	text := err.Error()
	switch {
	case errors.Is(err, ErrBadRequest):
		code, text = http.StatusBadRequest, strings.TrimPrefix(text, ErrBadRequest.Error()+": ")
	case errors.Is(err, ErrDisabled):
		code = http.StatusForbidden
	case errors.Is(err, ErrTooLate):
		code = http.StatusBadRequest
	case errors.Is(err, ErrNotFound):
		code = http.StatusNotFound
	case r.Context().Err() == nil:
		h.log.Error("request failed", "path", r.URL.Path, "err", err)
	}
	http.Error(w, text, code)
}
