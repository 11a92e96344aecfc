package tlsfile_test

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"example.com/loki/internal/tlsfile"
	"example.com/loki/internal/tlsfile/tlsfiletest"
)

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
	ours, theirs := tlsfiletest.New(t, "ours"), tlsfiletest.New(t, "theirs")
	serverFiles := ours.Issue(t, "server")
	clientFiles := ours.Issue(t, "client")
	foreign := theirs.Issue(t, "client")
	mutual := serverFiles
	mutual.CA = ours.CA()
	with := func(c tlsfile.Config, ca, name string) tlsfile.Config {
		c.CA, c.ServerName = ca, name
		return c
	}
	for _, tt := range []struct {
		name           string
		client, server tlsfile.Config
		ok             bool
	}{
		{"trusted", with(tlsfile.Config{}, ours.CA(), "server"), serverFiles, true},
		{"other authority", with(tlsfile.Config{}, theirs.CA(), "server"), serverFiles, false},
		{"other name", with(tlsfile.Config{}, ours.CA(), "else"), serverFiles, false},
		{"unchecked", tlsfile.Config{InsecureSkipVerify: true, ServerName: "server"}, serverFiles, true},
		{"mutual", with(clientFiles, ours.CA(), "server"), mutual, true},
		{"client without certificate", with(tlsfile.Config{}, ours.CA(), "server"), mutual, false},
		{"client of another authority", with(foreign, ours.CA(), "server"), mutual, false},
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
	a := tlsfiletest.New(t, "ca")
	files := a.Issue(t, "server")
	server, err := tlsfile.Server(files)
	check(t, err)
	client, err := tlsfile.Client(tlsfile.Config{CA: a.CA(), ServerName: "server"})
	check(t, err)
	before, err := handshake(t, client, server)
	check(t, err)
	a.Issue(t, "server")
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
	a := tlsfiletest.New(t, "ca")
	good := a.Issue(t, "server")
	for name, cfg := range map[string]tlsfile.Config{
		"nothing":  {},
		"no key":   {Cert: good.Cert},
		"missing":  {Cert: good.Cert + ".no", Key: good.Key},
		"swapped":  {Cert: good.Key, Key: good.Cert},
		"no CA":    {Cert: good.Cert, Key: good.Key, CA: a.CA() + ".no"},
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
