package program

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/thanos-io/objstore"

	"example.com/loki/examples/internal/config"
	"example.com/loki/store/s3"
)

// What goes wrong at a start is mostly a setting: errors from here on say which one.

// listenOn listens on a port that a flag sets.
func listenOn(ctx context.Context, host string, port int, flag string) (net.Listener, error) {
	addr := net.JoinHostPort(host, strconv.Itoa(port))
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err == nil {
		return l, nil
	}
	address := strings.TrimSuffix(flag, "port") + "address"
	var unknown *net.DNSError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen on %s: something listens there already; stop it or use another port: %s=0 takes any free one", addr, flag)
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.As(err, &unknown):
		return nil, fmt.Errorf("listen on %s: this machine has no such address; set %s to one that it has, or to 0.0.0.0 for all", addr, address)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("listen on %s: this user may not; ports below 1024 are for root, another one is set by %s", addr, flag)
	}
	return nil, fmt.Errorf("listen on %s: %w; see %s and %s", addr, err, address, flag)
}

// makeFolder makes sure that what runs can write where it keeps its files.
func makeFolder(dir string) error {
	err := os.MkdirAll(dir, 0o750)
	if err == nil {
		var f *os.File
		if f, err = os.CreateTemp(dir, ".writable-*"); err == nil {
			err = errors.Join(f.Close(), os.Remove(f.Name()))
		}
	}
	if err == nil {
		return nil
	}
	if abs, e := filepath.Abs(dir); e == nil {
		dir = abs
	}
	return fmt.Errorf("folder %s can't be written: %w; set common.path_prefix (-common.path-prefix) to one that this user may write", dir, err)
}

// openBucket connects to the object store and makes sure that the bucket is there.
func openBucket(ctx context.Context, cfg *config.Config, open func(s3.Config) (*s3.Bucket, error)) (objstore.Bucket, error) {
	bucket, err := open(cfg.Bucket())
	if err != nil {
		return nil, fmt.Errorf("%w; see common.storage.s3", err)
	}
	if err := bucket.Check(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%w; %s", err, bucketHint(err)), bucket.Close())
	}
	return bucket, nil
}

func bucketHint(err error) string {
	const block = "common.storage.s3."
	text := err.Error()
	switch {
	case errors.Is(err, s3.ErrNoBucket):
		return "make it, or set " + block + "bucketnames to one that is there"
	case errors.Is(err, s3.ErrDenied):
		return "check " + block + "access_key_id and secret_access_key, and what this key may do"
	case strings.Contains(text, "HTTP response to HTTPS client"):
		return "the server speaks HTTP without TLS: set " + block + "insecure"
	case strings.Contains(text, "certificate"):
		return "see " + block + "http_config.ca_file"
	}
	return "check " + block + "endpoint, and whether the server runs"
}

// topologyHint says how targets find an ingester that none of them is.
func topologyHint(err error, targets []string) error {
	if !strings.Contains(err.Error(), "ingester runs elsewhere") {
		return err
	}
	return fmt.Errorf("-target=%s needs ingesters, and none is known: name members of their cluster in memberlist.join_members (-memberlist.join), "+
		"or add ingester to the targets: %w", strings.Join(targets, ","), err)
}
