package bytesearch

import (
	"math/rand/v2"
	"slices"
	"testing"
	"unicode"

	"example.com/loki/internal/bench/yardstick"
)

// TestClasses compares Classes and HexDigits with the obvious way.
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
	}
}

// FuzzClasses compares the assembly with its twin.
func FuzzClasses(f *testing.F) {
	f.Add([]byte("short"))
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, data []byte) {
		blocks := len(data) / 64
		letters, alnums, digits := make([]uint64, blocks), make([]uint64, blocks), make([]uint64, blocks)
		ascii := classes(data, blocks, letters, alnums)
		hexDigits(data, blocks, digits)
		wantLetters, wantAlnums, wantDigits := make([]uint64, blocks), make([]uint64, blocks), make([]uint64, blocks)
		if want := plainClasses(data, blocks, wantLetters, wantAlnums); ascii != want {
			t.Errorf("%q: ascii = %t, want %t", data, ascii, want)
		}
		plainHexDigits(data, blocks, wantDigits)
		if !slices.Equal(letters, wantLetters) || !slices.Equal(alnums, wantAlnums) || !slices.Equal(digits, wantDigits) {
			t.Errorf("%q: %x %x %x, want %x %x %x", data, letters, alnums, digits, wantLetters, wantAlnums, wantDigits)
		}
	})
}

// BenchmarkClasses runs the assembly, where there is any, and its twin.
func BenchmarkClasses(b *testing.B) {
	data := make([]byte, 64<<10)
	for i := range data {
		data[i] = byte(' ' + i%90)
	}
	blocks := len(data) / 64
	letters, alnums := make([]uint64, blocks), make([]uint64, blocks)
	for _, c := range []struct {
		name string
		run  func()
	}{
		{"letters/fast", func() { classes(data, blocks, letters, alnums) }},
		{"letters/plain", func() { plainClasses(data, blocks, letters, alnums) }},
		{"hex/fast", func() { hexDigits(data, blocks, letters) }},
		{"hex/plain", func() { plainHexDigits(data, blocks, letters) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			yardstick.Bytes(b, int64(len(data)))
			for b.Loop() {
				c.run()
			}
		})
	}
}
