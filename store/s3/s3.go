// Package s3 stores segments in S3 or in what speaks its protocol. It is apart from package store, so that
// only programs that want it link a client of S3.
//
// A request that fails for a reason that may pass is repeated with growing, random pauses; a read that
// breaks off goes on where it was. When the server fails several requests in a row, further ones fail at
// once for a while (ErrUnavailable) instead of making a bad situation worse and everybody wait; then a
// single request finds out whether it is back, and others wait for its outcome. Requests are counted by method and outcome, because they
// are what object stores charge for.
package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	kitlog "github.com/go-kit/log"
	"github.com/minio/minio-go/v7"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/thanos-io/objstore"
	"github.com/thanos-io/objstore/exthttp"
	"github.com/thanos-io/objstore/providers/s3"

	"example.com/loki/store"
)

// ErrUnavailable means that the server has failed too often and is not asked for now. Try again later. It is a
// store.ErrUnavailable, as are the errors of requests that failed however often they were repeated.
var ErrUnavailable = fmt.Errorf("s3: requests are held back: %w", store.ErrUnavailable)

// What Check finds out. Trying again does not help.
var (
	// ErrNoBucket means that the server has no bucket of this name. Make it, or use another one.
	ErrNoBucket = errors.New("s3: there is no such bucket")
	// ErrDenied means that the server does not know the key, that the secret is wrong, or that this key may not
	// use the bucket.
	ErrDenied = errors.New("s3: access denied")
)

// Config of a bucket. Bucket and Endpoint are required.
type Config struct {
	// Bucket is its name; it must exist.
	Bucket string
	// Endpoint is a host, with a port if it isn't the usual one, and without a scheme.
	Endpoint string
	// Region may be empty for most servers other than Amazon's.
	Region string

	// AccessKey and SecretKey are the credentials. If both are empty they are looked up where Amazon's
	// own tools do: in the environment, in files, in the metadata of the machine.
	AccessKey, SecretKey, SessionToken string

	// Insecure means HTTP without TLS.
	Insecure bool
	// CAFile has the certificates to trust, in place of the system's.
	CAFile string
	// SkipVerify trusts any certificate.
	SkipVerify bool
	// PathStyle puts the bucket into the path instead of the host name, as most servers other than
	// Amazon's want it.
	PathStyle bool

	// Retries is how often a request is repeated. 0 means 5, negative never.
	Retries int
	// MinPause and MaxPause bound the pauses between. 0 means 100ms and 5s.
	MinPause, MaxPause time.Duration

	// Failures is how many requests in a row have to fail until the server counts as unavailable. 0 means
	// 10, negative never.
	Failures int
	// Outage is how long no request is sent then, and how long others wait at most for the one that finds out
	// whether the server is back. 0 means 5s.
	Outage time.Duration

	// ResponseTimeout is how long the server may take until an answer begins. 0 means 30s.
	ResponseTimeout time.Duration
}

// check returns a copy with defaults filled in, or every problem at once.
func (c Config) check() (Config, error) {
	c.Retries = cmp.Or(c.Retries, 5)
	c.MinPause = cmp.Or(c.MinPause, 100*time.Millisecond)
	c.MaxPause = cmp.Or(c.MaxPause, 5*time.Second)
	c.Failures = cmp.Or(c.Failures, 10)
	c.Outage = cmp.Or(c.Outage, 5*time.Second)
	c.ResponseTimeout = cmp.Or(c.ResponseTimeout, 30*time.Second)
	var errs []error
	if c.Bucket == "" {
		errs = append(errs, errors.New("Bucket is empty"))
	}
	if c.Endpoint == "" {
		errs = append(errs, errors.New("Endpoint is empty"))
	}
	if (c.AccessKey == "") != (c.SecretKey == "") {
		errs = append(errs, errors.New("AccessKey and SecretKey belong together"))
	}
	if c.MinPause < 0 || c.MaxPause < c.MinPause {
		errs = append(errs, fmt.Errorf("MinPause %s and MaxPause %s are no range", c.MinPause, c.MaxPause))
	}
	if c.Outage < 0 || c.ResponseTimeout < 0 {
		errs = append(errs, errors.New("Outage and ResponseTimeout can't be negative"))
	}
	return c, errors.Join(errs...)
}

// Bucket is an objstore.Bucket in S3. It is safe for concurrent use.
type Bucket struct {
	objstore.Bucket // what it doesn't repeat
	cfg             Config
	retries         prometheus.Counter
	transport       *http.Transport
}

var _ objstore.Bucket = (*Bucket)(nil)

// NewBucket returns a bucket. It sends no request. reg may be nil.
func NewBucket(cfg Config, reg prometheus.Registerer) (*Bucket, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	web := exthttp.DefaultHTTPConfig
	web.ResponseHeaderTimeout = model.Duration(cfg.ResponseTimeout)
	web.InsecureSkipVerify = cfg.SkipVerify
	web.TLSConfig.CAFile = cfg.CAFile
	transport, err := exthttp.DefaultTransport(web)
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	web.Transport = transport
	lookup := s3.AutoLookup
	if cfg.PathStyle {
		lookup = s3.PathLookup
	}
	m := newMetrics(reg)
	wire := &courier{next: transport, requests: m.requests, breaker: newBreaker(cfg.Failures, cfg.Outage, time.Now, m.open)}
	client, err := s3.NewBucketWithConfig(kitlog.NewNopLogger(), s3.Config{
		Bucket: cfg.Bucket, Endpoint: cfg.Endpoint, Region: cfg.Region, Insecure: cfg.Insecure,
		AccessKey: cfg.AccessKey, SecretKey: cfg.SecretKey, SessionToken: cfg.SessionToken,
		HTTPConfig: web, BucketLookupType: lookup, PartSize: 64 << 20,
		MaxRetries: 1, // that is: none; the repeating is ours
	}, "loki", func(http.RoundTripper) http.RoundTripper { return wire })
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	return &Bucket{Bucket: client, cfg: cfg, retries: m.retries, transport: transport}, nil
}

// Close implements objstore.Bucket. It closes idle connections.
func (b *Bucket) Close() error {
	b.transport.CloseIdleConnections()
	return b.Bucket.Close()
}

// Check asks for an object that needs not exist, to find out whether the server, the credentials and the
// bucket are right. Errors: ErrNoBucket, ErrDenied, and whatever keeps a connection from being made.
func (b *Bucket) Check(ctx context.Context) error {
	err := b.Iter(ctx, "no-such-folder/", func(string) error { return nil })
	if err == nil {
		return nil
	}
	var (
		answer  minio.ErrorResponse
		request *url.Error
	)
	switch {
	case errors.As(err, &answer) && answer.Code == minio.NoSuchBucket:
		err = ErrNoBucket
	case errors.As(err, &answer) && (answer.StatusCode == http.StatusForbidden || answer.StatusCode == http.StatusUnauthorized ||
		answer.Code == "XAdminUserNotFound"): // versitygw's, with status 404
		err = fmt.Errorf("%w: %w", ErrDenied, err)
	case errors.As(err, &request):
		err = request.Err // what was asked for says nothing
	}
	return fmt.Errorf("bucket %s at %s: %w", b.cfg.Bucket, b.cfg.Endpoint, err)
}
