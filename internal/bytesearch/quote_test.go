package bytesearch

import (
	"bytes"
	"strings"
	"testing"

	"example.com/loki/internal/bench/yardstick"
)

// FuzzQuote compares Quote and its twin with the obvious way.
func FuzzQuote(f *testing.F) {
	for n := range 70 { // a single mark at each place, behind the beginning and before it
		f.Add([]byte(strings.Repeat("!#[]\xa2\xdc", 12)[:n]+`"`), n/2)
		f.Add([]byte(strings.Repeat("!#[]\xa2\xdc", 12)[:n]+`\ and more`), 0)
		f.Add([]byte(`"\`+strings.Repeat("x", n)), 2)
	}
	f.Fuzz(func(t *testing.T, data []byte, i int) {
		if i < 0 || i > len(data) {
			return
		}
		want := bytes.IndexAny(data[i:], `"\`)
		if want < 0 {
			want = len(data)
		} else {
			want += i
		}
		whole := append(bytes.Repeat([]byte{'"'}, 20), data...) // marks around what is searched
		whole = append(whole, `""""""""""""""""""""`...)
		if got := Quote(whole[20:20+len(data)], i); got != want {
			t.Errorf("Quote(%q, %d) = %d, want %d", data, i, got, want)
		}
		if got := plainQuote(whole[20:20+len(data)], i); got != want {
			t.Errorf("plainQuote(%q, %d) = %d, want %d", data, i, got, want)
		}
	})
}

// BenchmarkQuote runs the assembly, where there is any, and its twin over strings as lines of JSON have them.
func BenchmarkQuote(b *testing.B) {
	var data []byte
	for _, n := range []int{24, 5, 11, 10, 7, 26, 11, 13, 25, 6, 23, 8, 14, 32} {
		data = append(append(data, strings.Repeat("x", n)...), '"')
	}
	for _, c := range []struct {
		name string
		find func(data []byte, i int) int
	}{
		{"fast", Quote},
		{"plain", plainQuote},
	} {
		b.Run(c.name, func(b *testing.B) {
			yardstick.Bytes(b, int64(len(data)))
			for b.Loop() {
				for i := 0; i < len(data); {
					i = c.find(data, i) + 1
				}
			}
		})
	}
}
