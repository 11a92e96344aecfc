package tlsfile_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"example.com/loki/internal/tlsfile"
)

// authority signs certificates.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	last int64
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.cert, a.key = a.issue(t, name, nil)
	return a
}

// ca is the file of the authority's own certificate.
func (a *authority) ca() string { return filepath.Join(a.dir, "ca.pem") }

// issue writes NAME.pem and NAME.key; without a parent the certificate is that of the authority.
func (a *authority) issue(t *testing.T, name string, parent *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	a.last++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.last),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		DNSNames:     []string{name},
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	signer, file := a.key, name
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid = true, true
		template.KeyUsage |= x509.KeyUsageCertSign
		parent, signer, file = template, key, "ca"
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	check(t, err)
	cert, err := x509.ParseCertificate(der)
	check(t, err)
	encoded, err := x509.MarshalECPrivateKey(key)
	check(t, err)
	check(t, os.WriteFile(filepath.Join(a.dir, file+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	check(t, os.WriteFile(filepath.Join(a.dir, file+".key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded}), 0o600))
	return cert, key
}

// config issues a certificate and returns where it is.
func (a *authority) config(t *testing.T, name string) tlsfile.Config {
	t.Helper()
	a.issue(t, name, a.cert)
	return tlsfile.Config{Cert: filepath.Join(a.dir, name+".pem"), Key: filepath.Join(a.dir, name+".key")}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// handshake returns what the client says of the server, and the serial number of its certificate.
func handshake(t *testing.T, client, server *tls.Config) (int64, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		s := tls.Server(conn, server)
		defer s.Close()
		if s.Handshake() == nil {
			s.Write([]byte("x"))
		}
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	check(t, err)
	c := tls.Client(conn, client)
	_, err = c.Read(make([]byte, 1)) // with TLS 1.3 a client learns that it was refused when it reads
	serial := int64(0)
	if state := c.ConnectionState(); len(state.PeerCertificates) > 0 {
		serial = state.PeerCertificates[0].SerialNumber.Int64()
	}
	conn.Close()
	<-done
	return serial, err
}

func TestHandshake(t *testing.T) {
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	serverFiles := ours.config(t, "server")
	clientFiles := ours.config(t, "client")
	foreign := theirs.config(t, "client")
	mutual := serverFiles
	mutual.CA = ours.ca()
	with := func(c tlsfile.Config, ca, name string) tlsfile.Config {
		c.CA, c.ServerName = ca, name
		return c
	}
	for _, tt := range []struct {
		name           string
		client, server tlsfile.Config
		ok             bool
	}{
		{"trusted", with(tlsfile.Config{}, ours.ca(), "server"), serverFiles, true},
		{"other authority", with(tlsfile.Config{}, theirs.ca(), "server"), serverFiles, false},
		{"other name", with(tlsfile.Config{}, ours.ca(), "else"), serverFiles, false},
		{"unchecked", tlsfile.Config{InsecureSkipVerify: true, ServerName: "server"}, serverFiles, true},
		{"mutual", with(clientFiles, ours.ca(), "server"), mutual, true},
		{"client without certificate", with(tlsfile.Config{}, ours.ca(), "server"), mutual, false},
		{"client of another authority", with(foreign, ours.ca(), "server"), mutual, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, err := tlsfile.Client(tt.client)
			check(t, err)
			server, err := tlsfile.Server(tt.server)
			check(t, err)
			if _, err := handshake(t, client, server); (err == nil) != tt.ok {
				t.Errorf("handshake: %v, want success: %v", err, tt.ok)
			}
		})
	}
}

func TestRenewal(t *testing.T) {
	a := newAuthority(t, "ca")
	files := a.config(t, "server")
	server, err := tlsfile.Server(files)
	check(t, err)
	client, err := tlsfile.Client(tlsfile.Config{CA: a.ca(), ServerName: "server"})
	check(t, err)
	before, err := handshake(t, client, server)
	check(t, err)
	a.issue(t, "server", a.cert)
	later := time.Now().Add(time.Minute)
	check(t, os.Chtimes(files.Cert, later, later))
	after, err := handshake(t, client, server)
	check(t, err)
	if after == before {
		t.Error("the old certificate is still used")
	}
	check(t, os.WriteFile(files.Key, []byte("broken"), 0o600))
	if still, err := handshake(t, client, server); err != nil || still != after {
		t.Errorf("with a broken file the handshake shows certificate %d, %v, want %d", still, err, after)
	}
}

func TestMistakes(t *testing.T) {
	a := newAuthority(t, "ca")
	good := a.config(t, "server")
	for name, cfg := range map[string]tlsfile.Config{
		"nothing":  {},
		"no key":   {Cert: good.Cert},
		"missing":  {Cert: good.Cert + ".no", Key: good.Key},
		"swapped":  {Cert: good.Key, Key: good.Cert},
		"no CA":    {Cert: good.Cert, Key: good.Key, CA: a.ca() + ".no"},
		"empty CA": {Cert: good.Cert, Key: good.Key, CA: good.Key},
	} {
		if _, err := tlsfile.Server(cfg); !errors.Is(err, tlsfile.ErrConfig) {
			t.Errorf("%s: Server: %v", name, err)
		}
		if _, err := tlsfile.Client(cfg); name != "nothing" && !errors.Is(err, tlsfile.ErrConfig) {
			t.Errorf("%s: Client: %v", name, err)
		}
	}
}
