package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"

	"example.com/loki"
)

// Alone tells that this process neither serves others nor calls any.
func (c *Config) Alone() bool {
	return !c.ringed() && len(c.addresses()) == 0 && slices.Equal(c.Target, []string{"all"})
}

// GRPCServer returns the bounds and certificates of the gRPC server.
func (c *Config) GRPCServer() (loki.GRPC, error) {
	cfg := loki.GRPC{MaxReceive: c.Server.GRPCMaxReceive, MaxSend: c.Server.GRPCMaxSend}
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
	cfg := loki.GRPC{MaxReceive: c.Server.GRPCMaxReceive, MaxSend: c.Server.GRPCMaxSend}
	t := c.ClientTLS
	if !t.Enabled {
		return cfg, nil
	}
	cfg.TLS = &tls.Config{ServerName: t.ServerName, InsecureSkipVerify: t.SkipVerify}
	var err error
	if t.CAFile != "" {
		if cfg.TLS.RootCAs, err = readCA(t.CAFile); err != nil {
			return cfg, err
		}
	}
	if t.CertFile != "" || t.KeyFile != "" {
		cfg.TLS.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
			return &cert, err
		}
		_, err = tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	}
	if err != nil {
		err = fmt.Errorf("ingester_client.grpc_client_config: %w", err)
	}
	return cfg, err
}

// serverTLS reads the files now, to find mistakes, and the certificate again for each connection, so that
// one that was renewed is used.
func serverTLS(name, cert, key, ca, auth string) (*tls.Config, error) {
	if cert == "" && key == "" {
		return nil, nil
	}
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	t := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		c, err := tls.LoadX509KeyPair(cert, key)
		return &c, err
	}}
	var err error
	if t.ClientAuth, err = clientAuth(auth); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if ca != "" {
		if t.ClientCAs, err = readCA(ca); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if t.ClientAuth >= tls.VerifyClientCertIfGiven && t.ClientCAs == nil {
		return nil, fmt.Errorf("%s: client_auth_type %s needs client_ca_file", name, auth)
	}
	return t, nil
}

// clientAuth reads the name of a way to ask clients for certificates.
func clientAuth(name string) (tls.ClientAuthType, error) {
	for _, t := range []tls.ClientAuthType{tls.NoClientCert, tls.RequestClientCert, tls.RequireAnyClientCert, tls.VerifyClientCertIfGiven, tls.RequireAndVerifyClientCert} {
		if name == t.String() {
			return t, nil
		}
	}
	if name == "" {
		return tls.NoClientCert, nil
	}
	return 0, fmt.Errorf("client_auth_type %q does not exist; use RequireAndVerifyClientCert or another name of Go's tls.ClientAuthType", name)
}

func readCA(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New(file + " has no certificate")
	}
	return pool, nil
}
