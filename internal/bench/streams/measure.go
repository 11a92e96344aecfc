package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang/snappy"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/encoding/protowire"
)

// run is one measurement.
type run struct {
	addr        string
	pid         int
	streams     int
	lines       int
	together    bool
	batch       int
	connections int
	queries     bool
	out         string // file for the result; empty: none

	rand       *rand.Rand
	time, step int64 // of the last line; mean distance of lines
	raw        int64
	start, end int64
	needle     string
}

// result is what was measured.
type result struct {
	Streams     int      `json:"streams"`
	Lines       int      `json:"lines"`
	PushSeconds float64  `json:"push_s"`
	CPU         float64  `json:"cpu_s"`          // with the flush
	PeakBytes   int64    `json:"peak_rss_bytes"` // until the flush was over
	Queries     []timing `json:"queries"`
}

type timing struct {
	Name  string  `json:"name"`
	First float64 `json:"first_ms"`
	P50   float64 `json:"p50_ms"`
	CPU   float64 `json:"cpu_ms"`
}

const span = 50 * time.Minute // of the times of all lines

func (r *run) measure() error {
	r.rand = rand.New(rand.NewPCG(1, 2))
	r.start = time.Now().Add(-time.Hour).UnixNano()
	r.time, r.step = r.start, int64(span)/int64(r.lines)
	cpu, began := r.cpu(), time.Now()
	var g errgroup.Group
	g.SetLimit(r.connections)
	for at := 0; at < r.lines; at += r.batch {
		body := r.body(at, min(at+r.batch, r.lines))
		g.Go(func() error { return r.post("/loki/api/v1/push", body) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	pushed, took := r.cpu(), time.Since(began)
	if err := r.post("/flush", nil); err != nil {
		return err
	}
	r.awaitIdle()
	r.end = r.time + 1
	fmt.Printf("%d streams, %d lines, %d bytes: pushed in %.1f s; CPU %.2f s, with flush %.2f s, %.1f s a GB; memory %s\n",
		r.streams, r.lines, r.raw, took.Seconds(), pushed-cpu, r.cpu()-cpu, (r.cpu()-cpu)/float64(r.raw)*1e9, r.memory())
	res := result{Streams: r.streams, Lines: r.lines, PushSeconds: took.Seconds(), CPU: r.cpu() - cpu, PeakBytes: r.memoryOf("VmHWM:")}
	if r.queries {
		for _, q := range r.list() {
			t, err := r.query(q)
			if err != nil {
				return fmt.Errorf("%s: %w", q.name, err)
			}
			res.Queries = append(res.Queries, t)
		}
		fmt.Println("memory", r.memory())
	}
	if r.out == "" {
		return nil
	}
	data, err := json.MarshalIndent(res, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(r.out, data, 0o644)
}

// stream returns the number of the stream of a line.
func (r *run) stream(line int) int {
	if r.together {
		return int(int64(line) * int64(r.streams) / int64(r.lines))
	}
	return line % r.streams
}

func appendLabels(dst []byte, k int) []byte {
	return fmt.Appendf(dst, `{app="app%02d", namespace="ns-%d", pod="%s"}`, k%10, k%5, pod(k))
}

func pod(k int) string { return fmt.Sprintf("app%02d-%08x", k%10, uint32(k)*2654435761) }

var words = [...]string{"request", "completed", "user", "session", "cache", "miss", "hit", "database", "connection", "timeout",
	"retry", "upstream", "checkout", "payment", "accepted", "worker", "finished", "started"}

func (r *run) word() string { return words[r.rand.IntN(len(words))] }

// body makes a push of lines [from, to).
func (r *run) body(from, to int) []byte {
	entries := map[int][]byte{}
	var order []int
	for i := from; i < to; i++ {
		r.time += int64(r.rand.ExpFloat64() * float64(r.step))
		user := r.rand.Uint64()
		line := fmt.Appendf(nil, `{"ts":"%s","level":"info","caller":"server.go:%d","msg":"%s %s %s %s","path":"/api/v1/items/%d","status":%d,"duration_ms":%.3f,"user":"%016x"}`,
			time.Unix(0, r.time).UTC().Format("2006-01-02T15:04:05.000Z"), r.rand.IntN(400), r.word(), r.word(), r.word(), r.word(),
			r.rand.IntN(5000), 200+r.rand.IntN(5), r.rand.ExpFloat64()*20, user)
		if i == r.lines/2 {
			r.needle = fmt.Sprintf("%016x", user)
		}
		r.raw += int64(len(line))
		stamp := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(r.time/1e9))
		stamp = protowire.AppendVarint(protowire.AppendTag(stamp, 2, protowire.VarintType), uint64(r.time%1e9))
		k := r.stream(i)
		if entries[k] == nil {
			order = append(order, k)
		}
		entries[k] = appendBytes(entries[k], 2, appendBytes(appendBytes(nil, 1, stamp), 2, line))
	}
	var body []byte
	for _, k := range order {
		body = appendBytes(body, 1, append(appendBytes(nil, 1, appendLabels(nil, k)), entries[k]...))
	}
	return snappy.Encode(nil, body)
}

func appendBytes(dst []byte, field protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, field, protowire.BytesType), b)
}

func (r *run) post(path string, body []byte) error {
	resp, err := http.Post(r.addr+path, "application/x-protobuf", bytes.NewReader(body))
	return check(path, resp, err)
}

func check(path string, resp *http.Response, err error) error {
	if err != nil {
		return err
	}
	answer, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s answers %s: %.300s", path, resp.Status, answer)
	}
	return err
}

// query is a request to measure.
type query struct {
	name, path string
	params     url.Values
}

func (r *run) list() []query {
	logs := func(name, expr, limit string) query {
		return query{name, "/loki/api/v1/query_range", url.Values{"query": {expr}, "limit": {limit}}}
	}
	some := pod(r.stream(r.lines / 2))
	return []query{
		logs("needle", `{namespace=~".+"} |= "`+r.needle+`"`, "100"),
		{"count by app", "/loki/api/v1/query_range", url.Values{"query": {`sum by (app) (count_over_time({namespace=~".+"}[10m]))`}, "step": {"600"}}},
		{"bytes by namespace", "/loki/api/v1/query_range", url.Values{"query": {`sum by (namespace) (bytes_over_time({app=~".+"}[10m]))`}, "step": {"600"}}},
		{"count all", "/loki/api/v1/query", url.Values{"query": {`sum(count_over_time({app=~".+"}[2h]))`}}},
		{"parse json", "/loki/api/v1/query_range", url.Values{"query": {`sum by (status) (count_over_time({app="app03"} | json status="status" [10m]))`}, "step": {"600"}}},
		{"quantile of an app", "/loki/api/v1/query_range", url.Values{"query": {`quantile_over_time(0.99, {app="app03"} | json d="duration_ms" | unwrap d [10m]) by (app)`}, "step": {"600"}}},
		{"top paths of an app", "/loki/api/v1/query", url.Values{"query": {`topk(10, sum by (path) (count_over_time({app="app03"} | json path="path" [2h])))`}}},
		{"regex over all", "/loki/api/v1/query", url.Values{"query": {`sum(count_over_time({namespace=~".+"} |~ "timeout .*(retry|miss)" [2h]))`}}},
		{"count of a word", "/loki/api/v1/query_range", url.Values{"query": {`sum by (app) (count_over_time({namespace=~".+"} |= "timeout" [10m]))`}, "step": {"600"}}},
		logs("newest of an app", `{app="app03"}`, "100"),
		logs("newest of a stream", `{pod="`+some+`"}`, "100"),
		{"labels", "/loki/api/v1/labels", url.Values{}},
		{"label values", "/loki/api/v1/label/app/values", url.Values{}},
		{"values of a selector", "/loki/api/v1/label/app/values", url.Values{"query": {`{namespace="ns-3"}`}}},
		{"series of one", "/loki/api/v1/series", url.Values{"match[]": {`{pod="` + some + `"}`}}},
		{"stats", "/loki/api/v1/index/stats", url.Values{"query": {`{app="app03"}`}}},
		{"volume by app", "/loki/api/v1/index/volume", url.Values{"query": {`{app=~".+"}`}, "targetLabels": {"app"}}},
	}
}

const repeats = 5

// query runs q several times and prints the first and the median time, and the median CPU time.
func (r *run) query(q query) (timing, error) {
	q.params.Set("start", strconv.FormatInt(r.start, 10))
	q.params.Set("end", strconv.FormatInt(r.end, 10))
	if strings.HasSuffix(q.path, "/query") {
		q.params.Set("time", strconv.FormatInt(r.end, 10))
	}
	var took []time.Duration
	cpu := r.cpu()
	for range repeats {
		began := time.Now()
		resp, err := http.Get(r.addr + q.path + "?" + q.params.Encode())
		if err := check(q.path, resp, err); err != nil {
			return timing{}, err
		}
		took = append(took, time.Since(began))
	}
	cpu = (r.cpu() - cpu) / repeats
	first := took[0]
	slices.Sort(took)
	t := timing{q.name, ms(first), ms(took[repeats/2]), cpu * 1000}
	fmt.Printf("  %-22s first %8.1f ms  median %8.1f ms  CPU %8.1f ms\n", t.Name, t.First, t.P50, t.CPU)
	return t, nil
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }

// awaitIdle returns when the server does nothing any more, or after a minute.
func (r *run) awaitIdle() {
	if r.pid == 0 {
		return
	}
	for range 60 {
		before := r.cpu()
		time.Sleep(time.Second)
		if r.cpu()-before < 0.05 {
			return
		}
	}
}

// cpu returns the seconds of CPU that the server has used, where the system tells.
func (r *run) cpu() float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+2:]))
	ticks := func(i int) float64 {
		v, _ := strconv.ParseFloat(f[i], 64)
		return v / 100
	}
	return ticks(11) + ticks(12)
}

// memory returns the greatest and the present size of the server in memory, where the system tells.
func (r *run) memory() string {
	return fmt.Sprintf("at most %d MiB, now %d MiB", r.memoryOf("VmHWM:")>>20, r.memoryOf("VmRSS:")>>20)
}

// memoryOf returns one of the figures, in bytes, that the system keeps about the server, 0 if it keeps none.
func (r *run) memoryOf(key string) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.pid))
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte(key)); ok {
			kb, _ := strconv.ParseInt(strings.Fields(string(rest))[0], 10, 64)
			return kb << 10
		}
	}
	return 0
}
