package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"

	"example.com/loki"
	"example.com/loki/internal/tlsfile"
)

// Alone tells that this process neither serves others nor calls any.
func (c *Config) Alone() bool {
	return !c.ringed() && len(c.addresses()) == 0 && slices.Equal(c.Target, []string{"all"})
}

// GRPCServer returns the bounds and certificates of the gRPC server.
func (c *Config) GRPCServer() (loki.GRPC, error) {
	cfg := loki.GRPC{MaxReceive: c.Server.GRPCMaxReceive, MaxSend: c.Server.GRPCMaxSend, MaxRequest: c.Tuning.MaxRequestBytes, Compression: loki.Compression(c.Compression)}
	var err error
	cfg.TLS, err = serverTLS("server.grpc_tls_config", c.Server.GRPCCertFile, c.Server.GRPCKeyFile, c.Server.GRPCClientCAFile, c.Server.GRPCClientAuth)
	return cfg, err
}

// HTTPTLS returns the certificates of the HTTP server, nil if it has none.
func (c *Config) HTTPTLS() (*tls.Config, error) {
	t, err := serverTLS("server.http_tls_config", c.Server.CertFile, c.Server.KeyFile, c.Server.ClientCAFile, c.Server.ClientAuth)
	if t != nil {
		t.NextProtos = []string{"http/1.1"}
	}
	return t, err
}

// grpcClient returns the bounds and certificates of connections to other processes.
func (c *Config) grpcClient() (loki.GRPC, error) {
	cfg := loki.GRPC{MaxReceive: c.Server.GRPCMaxReceive, MaxSend: c.Server.GRPCMaxSend, Compression: loki.Compression(c.Compression)}
	t := c.ClientTLS
	if !t.Enabled {
		return cfg, nil
	}
	var err error
	cfg.TLS, err = tlsfile.Client(tlsfile.Config{Cert: t.CertFile, Key: t.KeyFile, CA: t.CAFile, ServerName: t.ServerName, InsecureSkipVerify: t.SkipVerify})
	if err != nil {
		return cfg, fmt.Errorf("ingester_client.grpc_client_config: %w", err)
	}
	return cfg, nil
}

// serverTLS returns nil without files.
func serverTLS(name, cert, key, ca, auth string) (*tls.Config, error) {
	kind, err := checkServerTLS(name, cert, key, ca, auth)
	if err != nil || cert == "" {
		return nil, err
	}
	t, err := tlsfile.Server(tlsfile.Config{Cert: cert, Key: key, CA: ca})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if auth != "" {
		t.ClientAuth = kind
	}
	return t, nil
}

// checkServerTLS returns which certificates are asked for. What would leave a server open whose clients were meant to
// show certificates is an error.
func checkServerTLS(name, cert, key, ca, auth string) (tls.ClientAuthType, error) {
	all := []tls.ClientAuthType{tls.NoClientCert, tls.RequestClientCert, tls.RequireAnyClientCert, tls.VerifyClientCertIfGiven, tls.RequireAndVerifyClientCert}
	n := slices.IndexFunc(all, func(k tls.ClientAuthType) bool { return k.String() == auth })
	if n < 0 {
		if auth != "" {
			return 0, fmt.Errorf("%s: client_auth_type %q does not exist; use RequireAndVerifyClientCert or another name of Go's tls.ClientAuthType", name, auth)
		}
		n = 0
	}
	switch kind := all[n]; {
	case (cert == "") != (key == ""):
		return 0, fmt.Errorf("%s needs both cert_file and key_file", name)
	case cert == "" && (ca != "" || kind != tls.NoClientCert):
		return 0, fmt.Errorf("%s asks clients for certificates and has none itself: set cert_file and key_file", name)
	case kind >= tls.VerifyClientCertIfGiven && ca == "":
		return 0, fmt.Errorf("%s: client_auth_type %s needs client_ca_file", name, auth)
	default:
		return kind, nil
	}
}

// CheckFiles reads the files that the configuration names: certificates and the limits of tenants. It tells what a
// start would fail with.
func (c *Config) CheckFiles() error {
	_, http := c.HTTPTLS()
	_, server := c.GRPCServer()
	_, client := c.grpcClient()
	_, overrides := c.Overrides()
	return errors.Join(http, server, client, overrides)
}
