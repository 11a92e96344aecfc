package process

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"
)

// Do sends a request and returns the status and the body.
func Do(ctx context.Context, method, url, contentType string, body []byte) (int, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, b, err
}

// PushText pushes one line, with the time of now.
func PushText(t testing.TB, base, app, line string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"streams": []any{map[string]any{
		"stream": map[string]string{"app": app},
		"values": [][]string{{fmt.Sprint(time.Now().UnixNano()), line}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	status, answer, err := Do(t.Context(), http.MethodPost, base+"/loki/api/v1/push", "application/json", body)
	if err != nil || status != http.StatusNoContent {
		t.Fatalf("push = %d, %v: %s", status, err, answer)
	}
}

// QueryTexts returns the lines that a log query finds in the last hour.
func QueryTexts(t testing.TB, base, query string) []string {
	t.Helper()
	status, answer, err := Do(t.Context(), http.MethodGet, base+"/loki/api/v1/query_range?"+url.Values{"query": {query}}.Encode(), "", nil)
	if err != nil || status != http.StatusOK {
		t.Fatalf("query %s = %d, %v: %s", query, status, err, answer)
	}
	var res struct {
		Data struct {
			Result []struct{ Values [][]string }
		}
	}
	if err := json.Unmarshal(answer, &res); err != nil {
		t.Fatalf("query %s: %v: %s", query, err, answer)
	}
	var lines []string
	for _, s := range res.Data.Result {
		for _, v := range s.Values {
			lines = append(lines, v[1])
		}
	}
	return lines
}
