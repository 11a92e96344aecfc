// Package cachetest has the tests that every cache.Cache must pass.
package cachetest

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"

	"example.com/loki/cache"
)

// Contract tests caches that newCache makes. They are empty and have room for some hundred values.
func Contract(t *testing.T, newCache func(t *testing.T) cache.Cache) {
	t.Run("values", func(t *testing.T) {
		c, ctx := newCache(t), t.Context()
		values := map[string][]byte{"a": []byte("1"), "b b\n\x00ü": {}, "c": bytes.Repeat([]byte("\x00\r\nEND\r\n"), 1000)}
		for k, v := range values {
			c.Set(ctx, k, v)
		}
		for k, want := range values {
			got := c.Get(ctx, "none", k)
			if len(got) != 2 || got[0] != nil || got[1] == nil || !bytes.Equal(got[1], want) {
				t.Errorf("Get of %q = %.20q, want %.20q", k, got, want)
			}
		}
		if got := c.Get(ctx, "c", "a", "c"); len(got) != 3 || len(got[0]) != len(got[2]) || string(got[1]) != "1" {
			t.Errorf("Get of one key twice = %.20q", got)
		}
		if got := c.Get(ctx); len(got) != 0 {
			t.Errorf("Get of no key = %q", got)
		}
		c.Set(ctx, "a", []byte("2"))
		if got := c.Get(ctx, "a"); string(got[0]) != "2" {
			t.Errorf("after another Set, Get = %q", got)
		}
	})
	t.Run("at once", func(t *testing.T) {
		c, ctx := newCache(t), t.Context()
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				for i := range 100 {
					k := fmt.Sprint(i % 10)
					c.Set(ctx, k, []byte(k))
					if got := c.Get(ctx, k, fmt.Sprint(g)); got[0] != nil && string(got[0]) != k {
						t.Errorf("Get of %s = %q", k, got)
					}
				}
			})
		}
		wg.Wait()
	})
	t.Run("no time", func(t *testing.T) {
		c := newCache(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		c.Set(ctx, "a", []byte("1"))
		if got := c.Get(ctx, "a"); len(got) != 1 || got[0] != nil && string(got[0]) != "1" {
			t.Errorf("Get = %q", got)
		}
	})
}
