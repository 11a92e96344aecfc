package pipeline

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestScan compares the searches at eight bytes at once with those at one.
func TestScan(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	some := []byte("ab\"\\= \n\x00\x01\x20\x21\x22\x23\x3c\x3d\x3e\x5b\x5c\x5d\x7f\x80\xa0\xa2\xbd\xdc\xff")
	for range 200_000 {
		b := make([]byte, r.IntN(30))
		for i := range b {
			b[i] = 'x'
			if r.IntN(8) == 0 {
				b[i] = some[r.IntN(len(some))]
			}
		}
		from := r.IntN(len(b) + 1)

		want := from
		for want < len(b) && b[want] > ' ' && b[want] != '=' && b[want] != '"' {
			want++
		}
		if got := wordEnd(b, from); got != want {
			t.Fatalf("wordEnd(%q, %d) = %d, want %d", b, from, got, want)
		}

		end, escaped := -1, false
		for i := from; i < len(b); i++ {
			if b[i] == '"' {
				end = i
				break
			}
			if b[i] == '\\' {
				escaped = true
				i++
			}
		}
		if got, esc := stringEnd(b, from); got != end || esc != escaped {
			t.Fatalf("stringEnd(%q, %d) = %d, %t; want %d, %t", b, from, got, esc, end, escaped)
		}
	}
}

func TestKeyTable(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var table keyTable
	want := map[string]int{}
	for i := range 50_000 {
		key := bytes.Repeat([]byte{byte(r.IntN(3)), byte(r.IntN(50))}, r.IntN(20))
		n, known := want[string(key)]
		if got, ok := table.get(key); ok != known || ok && got != n {
			t.Fatalf("get(%q) = %d, %t; want %d, %t", key, got, ok, n, known)
		}
		if !known {
			table.add(key, i)
			want[string(key)] = i
		}
	}
	if len(want) < 500 {
		t.Errorf("only %d keys", len(want))
	}
}
