package store

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// lineKeys are the keys of one line, found the fast way.
func lineKeys(line []byte) map[uint64]bool {
	k := newKeyFinder()
	k.add(line)
	out := make(map[uint64]bool)
	for _, key := range k.take().own[0] {
		out[key] = true
	}
	return out
}

// needleKeys are all keys of a text.
func needleKeys(text string) []uint64 {
	var n needle
	n.add(text)
	return append(n.words, n.ids...)
}

// randomLine has words, identifiers, characters that fold to ASCII, and any bytes.
func randomLine(r *rand.Rand, n int) []byte {
	parts := []string{"a", "Z", "k", "K", "s", "i", "\u212a", "\u017f", "\u0130", "\u0131", "é", "0", "9", "7", "f", "e", "timeout",
		" ", "-", "\xc5", "\xbf", "\xe2", "\x84", "\xaa", "\xc4", "\xb0", "\x00", "\xff", "deadbeef01", "Error"}
	var b []byte
	for len(b) < n {
		if r.IntN(4) == 0 { // a long identifier
			for range r.IntN(40) {
				b = append(b, "0123456789abcdefXYZ"[r.IntN(19)])
			}
		}
		b = append(b, parts[r.IntN(len(parts))]...)
	}
	return b
}

func TestKeysOfNeedles(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	used := 0
	for range 3000 {
		line := randomLine(r, r.IntN(150)+1)
		keys := lineKeys(line)
		from := r.IntN(len(line))
		needle := string(line[from : from+1+r.IntN(len(line)-from)])
		for _, n := range []string{needle, strings.ToUpper(needle), strings.ToLower(needle)} {
			if n != needle && !validFold(needle) {
				continue // changing the case has replaced broken bytes
			}
			for _, key := range needleKeys(n) {
				used++
				if !keys[key] {
					t.Fatalf("needle %q of line %q has a key that the line has not", n, line)
				}
			}
		}
	}
	if used < 10_000 {
		t.Errorf("only %d keys tested", used)
	}
}

func validFold(s string) bool { return strings.ToValidUTF8(s, "") == s }

func TestKeysFastAndPlain(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		line := randomLine(r, r.IntN(300))
		if r.IntN(2) == 0 {
			line = bytes.Map(func(c rune) rune {
				if c >= 0x80 {
					return '.'
				}
				return c
			}, line)
		}
		fast := lineKeys(line)
		for _, key := range needleKeys(string(line)) {
			if !fast[key] {
				t.Fatalf("line %q lacks a key", line)
			}
			delete(fast, key)
		}
		if len(fast) > 0 {
			t.Fatalf("line %q has %d keys too many", line, len(fast))
		}
	}
}

func TestMinimizers(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 500 {
		run := make([]byte, r.IntN(60))
		for i := range run {
			run[i] = byte(1 + r.IntN(1+r.IntN(36)))
		}
		want := make(map[uint64]bool)
		for i := 0; i+idSpan <= len(run); i++ {
			var grams []uint64
			for j := i; j < i+idWindow; j++ {
				var g uint64
				for _, c := range run[j : j+idGram] {
					g = g<<6 | uint64(c)
				}
				grams = append(grams, g)
			}
			want[idKey(slices.MinFunc(grams, func(a, b uint64) int { return cmp.Compare(idRank(a), idRank(b)) }))] = true
		}
		got := make(map[uint64]bool)
		eachMinimizer(run, func(gram uint64) { got[idKey(gram)] = true })
		if len(got) != len(want) {
			t.Fatalf("run %v: %d keys, want %d", run, len(got), len(want))
		}
		for v := range want {
			if !got[v] {
				t.Fatalf("run %v: a key is missing", run)
			}
		}
	}
}

func TestNeedleOfAnIdentifierHasKeys(t *testing.T) {
	for _, s := range []string{"nxa2b5da5733ca", "7d623d66c91d311dbe2177322c23b9bc", "0123456789", "blk_1234567890123"} {
		if len(needleKeys(s)) == 0 {
			t.Errorf("needle %q has no key", s)
		}
	}
	for _, s := range []string{"", "abc", "a1b2c3", "äöü", "12345"} {
		if keys := needleKeys(s); len(keys) > 0 {
			t.Errorf("needle %q has %d keys", s, len(keys))
		}
	}
}

func TestFilter(t *testing.T) {
	for _, bits := range []int{lineBitsPerKey, metaBitsPerKey} {
		keys := make([]uint64, 5000)
		for i := range keys {
			keys[i] = mix(uint64(i))
		}
		f := filter(appendFilter(nil, keys, bits))
		for _, k := range keys {
			if !f.has(k) {
				t.Fatal("a key is lost")
			}
		}
		wrong := 0
		for i := range 20_000 {
			if f.has(mix(uint64(i + 1e6))) {
				wrong++
			}
		}
		rate := float64(wrong) / 20_000
		t.Logf("%d bits a key: %.1f %% errors", bits, 100*rate)
		if limit := map[int]float64{lineBitsPerKey: 0.1, metaBitsPerKey: 0.03}[bits]; rate > limit {
			t.Errorf("%d bits a key: %.1f %% errors, want at most %.1f %%", bits, 100*rate, 100*limit)
		}
	}
	if filter(nil).has(1) {
		t.Error("the empty filter has a key")
	}
}
