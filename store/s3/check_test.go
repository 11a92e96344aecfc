package s3

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestCheck shows what a start is told when the bucket can't be used.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		code   string
		want   error
	}{
		{"there", http.StatusOK, "", nil},
		{"no bucket", http.StatusNotFound, "NoSuchBucket", ErrNoBucket},
		{"wrong secret", http.StatusForbidden, "SignatureDoesNotMatch", ErrDenied},
		{"wrong key", http.StatusForbidden, "InvalidAccessKeyId", ErrDenied},
		{"wrong key of versitygw", http.StatusNotFound, "XAdminUserNotFound", ErrDenied},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				if c.code != "" {
					fmt.Fprintf(w, `<Error><Code>%s</Code><Message>what the server says</Message></Error>`, c.code)
					return
				}
				fmt.Fprint(w, `<ListBucketResult></ListBucketResult>`)
			}))
			t.Cleanup(srv.Close)
			b, err := NewBucket(Config{
				Bucket: "logs", Endpoint: strings.TrimPrefix(srv.URL, "http://"), Region: "here", AccessKey: "a", SecretKey: "b", Insecure: true, PathStyle: true,
			}, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = b.Close() })
			if err := b.Check(t.Context()); !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), "bucket logs at") {
				t.Errorf("Check = %v, want %v", err, c.want)
			}
		})
	}
}

func TestCheckWithoutServer(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	addr := strings.TrimPrefix(srv.URL, "http://")
	srv.Close()
	b, err := NewBucket(Config{Bucket: "logs", Endpoint: addr, Region: "here", AccessKey: "a", SecretKey: "b", Insecure: true, PathStyle: true, Retries: -1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	if err := b.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "refused") || strings.Contains(err.Error(), "no-such-folder") {
		t.Errorf("Check = %v; want that the connection is refused, and nothing of what was asked for", err)
	}
}
