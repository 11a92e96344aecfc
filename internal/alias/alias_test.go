package alias

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzTwins compares both conversions with the language's own, which copy.
func FuzzTwins(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte{})
	f.Add([]byte("level=info \x00\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := String(data)
		if s != string(data) {
			t.Fatalf("String(%q) = %q", data, s)
		}
		if b := Bytes(s); !bytes.Equal(b, []byte(s)) || cap(b) > len(s) && Shares {
			t.Fatalf("Bytes(%q) = %q with room for %d", s, b, cap(b))
		}
	})
}

// TestAllocations shows what is bought.
func TestAllocations(t *testing.T) {
	data, text := bytes.Repeat([]byte("x"), 200), strings.Repeat("x", 200)
	var s string
	var b []byte
	n := testing.AllocsPerRun(100, func() { s, b = String(data), Bytes(text) })
	if want := map[bool]float64{true: 0, false: 2}[Shares]; n != want || len(s) != len(b) {
		t.Errorf("%v allocations, want %v", n, want)
	}
}

// BenchmarkString and its twin take a line of 200 bytes, as decoders do for each.
func BenchmarkString(b *testing.B) {
	line := bytes.Repeat([]byte("x"), 200)
	var kept string
	run := func(convert func([]byte) string) func(*testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(line)))
			for b.Loop() {
				kept = convert(line)
			}
		}
	}
	b.Run("alias", run(String))
	b.Run("copy", run(func(b []byte) string { return string(b) }))
	if len(kept) != len(line) {
		b.Fatal(kept)
	}
}

func BenchmarkBytes(b *testing.B) {
	line := strings.Repeat("x", 200)
	var kept []byte
	run := func(convert func(string) []byte) func(*testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(line)))
			for b.Loop() {
				kept = convert(line)
			}
		}
	}
	b.Run("alias", run(Bytes))
	b.Run("copy", run(func(s string) []byte { return []byte(s) }))
	if len(kept) != len(line) {
		b.Fatal(kept)
	}
}
