package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/golang/snappy"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	connections = 2   // that push
	streams     = 240 // divided between them
	span        = 3 * time.Hour
	batchBytes  = 1 << 20
)

// data is what is pushed: the bodies of each connection, in order.
type data struct {
	bodies [connections][][]byte
	bytes  int // of lines
	lines  int
	end    time.Time
}

// generate makes lines of the last hours, the same ones each time but for their times.
func generate(size int) *data {
	d := &data{end: time.Now().Add(-time.Minute).Truncate(time.Minute)}
	r := rand.New(rand.NewPCG(1, 2))
	const each = 150 // bytes of a line, roughly
	step := span / time.Duration(size/each+1)
	for c := range connections {
		at := d.end.Add(-span)
		for written := 0; written < size/connections; {
			lists := map[int][]byte{}
			raw := 0
			for raw < batchBytes && written+raw < size/connections {
				s := c*streams/connections + r.IntN(streams/connections)
				at = at.Add(step * connections)
				line := fmt.Appendf(nil, "level=%s method=GET path=/api/v1/items/%d status=%d duration=%dms request_id=%016x%016x user=%d msg=\"request done\" size=%d",
					[]string{"info", "info", "info", "warn", "error"}[r.IntN(5)], r.IntN(10000), 200+r.IntN(4)*100, r.IntN(5000), r.Uint64(), r.Uint64(), r.IntN(100000), r.IntN(1<<20))
				lists[s] = appendEntry(lists[s], at, line)
				raw += len(line)
				d.lines++
			}
			var body []byte
			for s, entries := range lists {
				labels := fmt.Sprintf(`{app="app-%d", pod="pod-%d"}`, s%30, s)
				stream := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), labels)
				stream = append(stream, entries...)
				body = protowire.AppendBytes(protowire.AppendTag(body, 1, protowire.BytesType), stream)
			}
			d.bodies[c] = append(d.bodies[c], snappy.Encode(nil, body))
			written += raw
			d.bytes += raw
		}
	}
	return d
}

func appendEntry(b []byte, at time.Time, line []byte) []byte {
	ts := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(at.Unix()))
	ts = protowire.AppendVarint(protowire.AppendTag(ts, 2, protowire.VarintType), uint64(at.Nanosecond()))
	entry := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), ts)
	entry = protowire.AppendBytes(protowire.AppendTag(entry, 2, protowire.BytesType), line)
	return protowire.AppendBytes(protowire.AppendTag(b, 2, protowire.BytesType), entry)
}

// push sends everything as fast as it is taken.
func (d *data) push(ctx context.Context, base string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, bodies := range d.bodies {
		wg.Go(func() {
			for _, b := range bodies {
				if _, err := post(ctx, base+"/loki/api/v1/push", b); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// small returns a push of one line.
func small(n int) []byte {
	stream := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), `{app="small"}`)
	stream = appendEntry(stream, time.Now(), strconv.AppendInt([]byte("line "), int64(n), 10))
	return snappy.Encode(nil, protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), stream))
}

// ask runs a query over all of the lines.
func (d *data) ask(ctx context.Context, base, query string, limit int) (string, error) {
	v := url.Values{"query": {query}, "start": {strconv.FormatInt(d.end.Add(-span).UnixNano(), 10)}, "end": {strconv.FormatInt(d.end.Add(time.Second).UnixNano(), 10)},
		"step": {"600"}, "limit": {strconv.Itoa(limit)}}
	return get(ctx, base+"/loki/api/v1/query_range?"+v.Encode())
}

func get(ctx context.Context, url string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	return do(r)
}

func post(ctx context.Context, url string, body []byte) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/x-protobuf")
	return do(r)
}

func do(r *http.Request) (string, error) {
	resp, err := web().Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %.300s", r.Method, r.URL.Path, resp.Status, body)
	}
	return string(body), err
}
