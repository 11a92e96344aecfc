// Package tlsfile makes TLS configurations of files with certificates and keys.
//
// Files are read when the configuration is made, so that mistakes show at the start. Afterwards the
// certificate and its key are read again when they have changed, at the next handshake: certificates
// can be renewed without a restart. Nothing runs in the background.
package tlsfile

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// Config names the files. All are in PEM.
type Config struct {
	// Cert and Key are the certificate, with the chain up to its root, and its key. A server needs
	// them; a client has them if servers ask for certificates.
	Cert, Key string

	// CA has the certificates that vouch for the other side: for servers, where a client reads it, and
	// for clients, where a server does. Empty: a client trusts the roots of the system, a server asks
	// for no certificate.
	CA string

	// ServerName is the name that a server must prove to have. Empty means the host that a client
	// connects to.
	ServerName string

	// InsecureSkipVerify makes a client believe any server. Who can intercept its connections can then
	// read them.
	InsecureSkipVerify bool
}

// ErrConfig means that the configuration contradicts itself.
var ErrConfig = errors.New("bad TLS configuration")

// Client returns the configuration of a client.
func Client(cfg Config) (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: cfg.ServerName, InsecureSkipVerify: cfg.InsecureSkipVerify}
	if cfg.CA != "" {
		pool, err := readCA(cfg.CA)
		if err != nil {
			return nil, err
		}
		out.RootCAs = pool
	}
	if cfg.Cert == "" && cfg.Key == "" {
		return out, nil
	}
	p, err := newPair(cfg)
	if err != nil {
		return nil, err
	}
	out.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return p.get() }
	return out, nil
}

// Server returns the configuration of a server. If cfg.CA is set, clients must have a certificate that it
// vouches for.
func Server(cfg Config) (*tls.Config, error) {
	p, err := newPair(cfg)
	if err != nil {
		return nil, err
	}
	out := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.get() },
	}
	if cfg.CA != "" {
		pool, err := readCA(cfg.CA)
		if err != nil {
			return nil, err
		}
		out.ClientCAs, out.ClientAuth = pool, tls.RequireAndVerifyClientCert
	}
	return out, nil
}

func readCA(path string) (*x509.CertPool, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: certificates of the other side: %w", ErrConfig, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%w: %s has no certificate", ErrConfig, path)
	}
	return pool, nil
}

// pair is a certificate and its key, which may be replaced by newer ones.
type pair struct {
	cert, key string

	mu       sync.Mutex
	current  *tls.Certificate // guarded by mu
	modified [2]time.Time     // of the files that current was read from; guarded by mu
}

func newPair(cfg Config) (*pair, error) {
	if cfg.Cert == "" || cfg.Key == "" {
		return nil, fmt.Errorf("%w: a certificate and its key are needed (have %q and %q)", ErrConfig, cfg.Cert, cfg.Key)
	}
	p := &pair{cert: cfg.Cert, key: cfg.Key}
	times, err := p.times()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if err := p.load(times); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return p, nil
}

// times returns when the files were changed.
func (p *pair) times() (out [2]time.Time, err error) {
	for i, path := range []string{p.cert, p.key} {
		info, err := os.Stat(path)
		if err != nil {
			return out, err
		}
		out[i] = info.ModTime()
	}
	return out, nil
}

func (p *pair) load(times [2]time.Time) error {
	c, err := tls.LoadX509KeyPair(p.cert, p.key)
	if err != nil {
		return fmt.Errorf("%s and %s: %w", p.cert, p.key, err)
	}
	p.current, p.modified = &c, times
	return nil
}

// get returns the certificate. While its files are being replaced, and don't fit each other or are
// missing, the old one is still used.
func (p *pair) get() (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if times, err := p.times(); err == nil && times != p.modified {
		if err := p.load(times); err != nil {
			return p.current, nil
		}
	}
	return p.current, nil
}
