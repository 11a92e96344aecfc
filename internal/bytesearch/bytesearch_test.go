package bytesearch

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"example.com/loki/internal/bench/yardstick"
)

// TestPairIndex compares the assembly with its twin.
func TestPairIndex(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		blocks, off, at := r.IntN(5), 1+r.IntN(40), r.IntN(20)
		data := make([]byte, at+blocks*blockSize+off)
		for i := range data {
			data[i] = byte('a' + r.IntN(1+r.IntN(20)))
		}
		a, b := byte('a'+r.IntN(20)), byte('a'+r.IntN(20))
		if got, want := pairIndex(data[at:], blocks, off, a, b), plainPairIndex(data[at:], blocks, off, a, b); got != want {
			t.Fatalf("pairIndex of %q from %d on, %d blocks, %q and %q at a distance of %d = %d, want %d", data, at, blocks, a, b, off, got, want)
		}
	}
}

func TestIndex(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	letters := 0
	text := func(n int) []byte {
		s := make([]byte, n)
		for i := range s {
			s[i] = byte('a' + r.IntN(letters))
		}
		return s
	}
	for i := range 50_000 {
		letters = 1 + i%4
		data, needle := text(r.IntN(300)), text(r.IntN(9))
		f := New(needle)
		if got, want := f.Index(data), bytes.Index(data, needle); got != want {
			t.Fatalf("Index of %q in %q = %d, want %d", needle, data, got, want)
		}
	}
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte("an error, then another error"), []byte("error"))
	f.Add(bytes.Repeat([]byte("ab"), 100), []byte("bb"))
	f.Fuzz(func(t *testing.T, data, needle []byte) {
		finder := New(needle)
		if got, want := finder.Index(data), bytes.Index(data, needle); got != want {
			t.Fatalf("Index of %q in %q = %d, want %d", needle, data, got, want)
		}
	})
}

func BenchmarkIndex(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	var data []byte
	for i := 0; len(data) < 512<<10; i++ {
		data = fmt.Appendf(data, `ts=2026-01-01T00:%02d:%02dZ level=info caller=pay.go:%d msg="request for %d accepted" status=%d duration=%dms`,
			i/60%60, i%60, r.IntN(200), r.IntN(1000), 200+r.IntN(5), r.IntN(900))
	}
	for _, needle := range []string{"error", "timeout after ", "3f2504e0-4f89-11d3", "level=warn"} {
		f := New([]byte(needle))
		b.Run("pair/"+needle, func(b *testing.B) {
			yardstick.Bytes(b, int64(len(data)))
			for b.Loop() {
				f.Index(data)
			}
		})
		b.Run("bytes/"+needle, func(b *testing.B) {
			yardstick.Bytes(b, int64(len(data)))
			for b.Loop() {
				bytes.Index(data, []byte(needle))
			}
		})
	}
	b.Run("plain", func(b *testing.B) { // the twin of the assembly, which stands aside where there is none
		yardstick.Bytes(b, int64(len(data)))
		for b.Loop() {
			plainPairIndex(data, len(data)/blockSize-1, 5, 'w', '!')
		}
	})
	b.Run("fast", func(b *testing.B) {
		yardstick.Bytes(b, int64(len(data)))
		for b.Loop() {
			pairIndex(data, len(data)/blockSize-1, 5, 'w', '!')
		}
	})
}
