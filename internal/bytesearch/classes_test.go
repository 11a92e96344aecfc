package bytesearch

import (
	"math/rand/v2"
	"testing"
	"unicode"
)

// TestClasses compares Classes and HexDigits, and the plain code that is their twin, with the obvious way.
func TestClasses(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		data := make([]byte, r.IntN(300))
		only := []int{128, 256}[r.IntN(2)]
		for i := range data {
			data[i] = byte(r.IntN(only))
		}
		words := (len(data) + 63) / 64
		letters, alnums := make([]uint64, words), make([]uint64, words)
		for i := range words {
			letters[i], alnums[i] = r.Uint64(), r.Uint64() // of the line before
		}
		digits := make([]uint64, words)
		HexDigits(data, digits)
		ascii := Classes(data, letters, alnums)
		wantASCII := true
		for i := range 64 * words {
			c := rune(0)
			if i < len(data) {
				c = rune(data[i])
			}
			wantASCII = wantASCII && c < 0x80
			letter := c < 0x80 && unicode.IsLetter(c)
			alnum := letter || c < 0x80 && unicode.IsDigit(c)
			if letters[i/64]>>(i%64)&1 == 1 != letter || alnums[i/64]>>(i%64)&1 == 1 != alnum {
				t.Fatalf("byte %d of %q: letter is not %t or letter or digit not %t", i, data, letter, alnum)
			}
			if hex := c >= '0' && c <= '9' || c >= 'a' && c <= 'f'; digits[i/64]>>(i%64)&1 == 1 != hex {
				t.Fatalf("byte %d of %q: hexadecimal digit is not %t", i, data, hex)
			}
		}
		if ascii != wantASCII {
			t.Fatalf("%q: ascii = %t", data, ascii)
		}
		if len(data) >= 64 {
			l, a, ok := plainClasses((*[64]byte)(data))
			if l != letters[0] || a != alnums[0] {
				t.Fatalf("%q: plain %x %x, want %x %x", data[:64], l, a, letters[0], alnums[0])
			}
			if d := plainHexDigits((*[64]byte)(data)); d != digits[0] {
				t.Fatalf("%q: plain %x, want %x", data[:64], d, digits[0])
			}
			if ascii && !ok {
				t.Fatalf("%q: plain says not ASCII", data[:64])
			}
		}
	}
}

func BenchmarkClasses(b *testing.B) {
	data := make([]byte, 64<<10)
	for i := range data {
		data[i] = byte(' ' + i%90)
	}
	letters, alnums := make([]uint64, len(data)/64), make([]uint64, len(data)/64)
	b.Run("vectors", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			Classes(data, letters, alnums)
		}
	})
	b.Run("plain", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			for i := range letters {
				letters[i], alnums[i], _ = plainClasses((*[64]byte)(data[64*i:]))
			}
		}
	})
}
