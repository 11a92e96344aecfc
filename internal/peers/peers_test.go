package peers_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"example.com/loki/internal/peers"
	"example.com/loki/internal/wire"
	"example.com/loki/ring/member"
)

type conn struct {
	addr   string
	closed *[]string
}

func (c conn) Close() error {
	*c.closed = append(*c.closed, c.addr)
	return nil
}

func view(addrs ...string) member.View { return member.Fixed(member.Options{}, addrs...).View() }

func addresses(list []*member.Instance) string {
	var out []string
	for _, i := range list {
		out = append(out, i.Addr)
	}
	return strings.Join(out, " ")
}

func TestPool(t *testing.T) {
	var closed []string
	var log bytes.Buffer
	p := peers.New(peers.Config[string]{
		Name: "tester",
		Dial: func(addr string) (string, io.Closer, error) {
			if addr == "nil" {
				return "", nil, nil
			}
			return "at " + addr, conn{addr, &closed}, nil
		},
		AvoidFor: time.Hour,
		Logger:   slog.New(slog.NewTextHandler(&log, nil)),
	})
	take := func(addr string) func(error) {
		t.Helper()
		s, done, err := p.Take(addr)
		if err != nil || addr != "nil" && s != "at "+addr {
			t.Fatalf("Take(%q) = %q, %v", addr, s, err)
		}
		return done
	}
	sorted := func(first, avoided string, v member.View) {
		t.Helper()
		a, b := p.Sort(v, v.All())
		if addresses(a) != first || addresses(b) != avoided {
			t.Errorf("first %q, then %q; want %q and %q", addresses(a), addresses(b), first, avoided)
		}
	}
	away := status.Error(codes.Unavailable, "away")
	take("a")(away)
	take("a")(away)
	take("b")(errors.New("a fault of the call"))
	sorted("b c", "a", view("a", "b", "c"))
	if n := strings.Count(log.String(), "tester can't be reached"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
	take("a")(nil)
	sorted("a b c", "", view("a", "b", "c"))

	// Those that leave are closed once nobody calls them.
	last, none := take("b"), take("nil")
	none(nil)
	sorted("c", "", view("c"))
	last(away)
	if got := strings.Join(closed, " "); got != "a" {
		t.Errorf("closed %q", got)
	}
	sorted("c", "", view("c"))
	if got := strings.Join(closed, " "); got != "a b" {
		t.Errorf("closed %q", got)
	}
	if strings.Contains(log.String(), "address=b") {
		t.Errorf("that one has left is no news:\n%s", log.String())
	}

	take("c")(nil)
	if err := p.Close(); err != nil || strings.Join(closed, " ") != "a b c" {
		t.Errorf("Close = %v, closed %q", err, closed)
	}
	if _, _, err := p.Take("c"); !wire.IsUnavailable(err) {
		t.Errorf("Take after Close = %v", err)
	}
}

// TestIdle keeps connections for a while, as one who leaves may be back soon.
func TestIdle(t *testing.T) {
	var closed []string
	p := peers.New(peers.Config[int]{
		Dial:      func(addr string) (int, io.Closer, error) { return 0, conn{addr, &closed}, nil },
		IdleAfter: time.Hour,
	})
	_, done, err := p.Take("a")
	if err != nil {
		t.Fatal(err)
	}
	done(nil)
	for range 3 {
		p.Sort(view("b"), nil)
	}
	if len(closed) > 0 {
		t.Errorf("closed %q", closed)
	}
	if err := p.Close(); err != nil || len(closed) != 1 {
		t.Errorf("Close = %v, closed %q", err, closed)
	}
}
