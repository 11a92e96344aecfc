package pipeline

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestLead(t *testing.T) {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	for n := range 25 {
		l := newLead(letters[:n])
		for _, before := range []string{"", "before "} {
			for _, behind := range []string{"", "!", letters} {
				b := []byte(before + letters[:n] + behind)
				if got := l.begins(b, len(before)); got != (n > 0) {
					t.Errorf("%q at %d of %q: %t", l.text, len(before), b, got)
				}
				for i := range n {
					other := []byte(before + letters[:i] + strings.ToUpper(letters[i:i+1]) + letters[i+1:n] + behind)
					if l.begins(other, len(before)) {
						t.Errorf("%q at %d of %q", l.text, len(before), other)
					}
				}
			}
			if n > 0 && l.begins([]byte(before+letters[:n-1]), len(before)) {
				t.Errorf("%q in a text that is too short", l.text)
			}
		}
	}
}

func TestSortPlaces(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		var list []label
		var places []place
		var want []string
		for i := range r.IntN(100) {
			name := strings.Repeat("abcdefg", r.IntN(3)) + string(rune('a'+r.IntN(3))) + strconv.Itoa(i)
			list = append(list, label{name: name})
			places = append(places, place{sortKey(name), int32(i)})
			want = append(want, name)
		}
		sortPlaces(places, list)
		slices.Sort(want)
		for i, p := range places {
			if list[p.index].name != want[i] {
				t.Fatalf("label %d of %v is %q, want %q", i, list, list[p.index].name, want[i])
			}
		}
	}
}

func TestParseNumber(t *testing.T) {
	for s, want := range map[string]float64{"0": 0, "007": 7, "200": 200, "999999999999999": 999999999999999, "1234567890123456789": 1234567890123456789, "1.5": 1.5, "-3": -3, "+3": 3, "1e3": 1000} {
		if got, err := parseNumber(s); got != want || err != nil {
			t.Errorf("parseNumber(%q) = %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "x", "12:", "1/2", "200 "} {
		if got, err := parseNumber(s); err == nil {
			t.Errorf("parseNumber(%q) = %v", s, got)
		}
	}
}
