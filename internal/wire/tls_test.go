package wire_test

import (
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	"example.com/loki/internal/tlsfile"
	"example.com/loki/internal/tlsfile/tlsfiletest"
	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wiretest"
)

// TestMutualTLS shows who may speak with a server that wants to know its clients.
func TestMutualTLS(t *testing.T) {
	ours, theirs := tlsfiletest.New(t, "ours"), tlsfiletest.New(t, "theirs")
	files := ours.Issue(t, "server")
	files.CA = ours.CA()
	server, err := tlsfile.Server(files)
	if err != nil {
		t.Fatal(err)
	}
	p := wiretest.Serve(t, wire.Config{TLS: server}, func(grpc.ServiceRegistrar) {})
	p.SetServing("", true)
	for _, tt := range []struct {
		name  string
		files *tlsfile.Config
		ok    bool
	}{
		{"known client", ptr(ours.Issue(t, "client")), true},
		{"unknown client", ptr(theirs.Issue(t, "client")), false},
		{"no certificate", &tlsfile.Config{}, false},
		{"no TLS", nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var cfg wire.Config
			if tt.files != nil {
				tt.files.CA, tt.files.ServerName = ours.CA(), "server"
				if cfg.TLS, err = tlsfile.Client(*tt.files); err != nil {
					t.Fatal(err)
				}
			}
			_, err := grpc_health_v1.NewHealthClient(p.Dial(t, cfg)).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
			if (err == nil) != tt.ok {
				t.Errorf("a call: %v, want success: %v", err, tt.ok)
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }
