package cache_test

import (
	"context"
	"strings"
	"testing"

	"example.com/loki/cache"
)

// vault is a cache whose only value is whatever was kept last, changed by spoil.
type vault struct {
	value []byte
	spoil func([]byte) []byte
}

func (v *vault) Get(_ context.Context, keys ...string) [][]byte {
	all := make([][]byte, len(keys))
	for i := range keys {
		if v.value != nil {
			all[i] = v.spoil(append([]byte(nil), v.value...))
		}
	}
	return all
}

func (v *vault) Set(_ context.Context, _ string, value []byte) { v.value = value }

func TestSealed(t *testing.T) {
	ctx := t.Context()
	v := &vault{spoil: func(b []byte) []byte { return b }}
	s := cache.Sealed{Cache: v}
	key := strings.Repeat("long key ", 100)
	if got := s.Get(ctx, key); got[0] != nil {
		t.Errorf("an empty cache has %q", got[0])
	}
	for _, value := range []string{"value", ""} {
		s.Set(ctx, key, []byte(value))
		if got := s.Get(ctx, key); got[0] == nil || string(got[0]) != value {
			t.Errorf("got %q, want %q", got[0], value)
		}
		if got := s.Get(ctx, key+"x", key[1:], ""); got[0] != nil || got[1] != nil || got[2] != nil {
			t.Errorf("another key has %q", got)
		}
	}
	for n := range v.value {
		v.spoil = func(b []byte) []byte { b[n] ^= 4; return b }
		if got := s.Get(ctx, key); got[0] != nil {
			t.Fatalf("with byte %d changed: %q", n, got[0])
		}
		v.spoil = func(b []byte) []byte { return b[:n] }
		if got := s.Get(ctx, key); got[0] != nil {
			t.Fatalf("with %d bytes: %q", n, got[0])
		}
	}
}

func TestNone(t *testing.T) {
	c := cache.None()
	c.Set(t.Context(), "a", []byte("1"))
	if got := c.Get(t.Context(), "a", "b"); len(got) != 2 || got[0] != nil || got[1] != nil {
		t.Errorf("it has %q", got)
	}
}
