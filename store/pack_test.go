package store

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/internal/bench/yardstick"
)

// packLines packs and unpacks.
func packLines(t testing.TB, p *packer, lines []string, times []int64) (m marks, text, ids []byte) {
	t.Helper()
	var data []byte
	var lens []uint32
	for _, l := range lines {
		data = append(data, l...)
		lens = append(lens, uint32(len(l)))
	}
	p.reset()
	if m = freeMarks(data); m == (marks{}) {
		return m, nil, nil
	}
	p.pack(data, lens, times, m)
	u := newUnpacker(m, p.text, p.ids)
	for i, l := range lines {
		got, err := u.next(nil, times[i], len(l))
		if err != nil || string(got) != l {
			t.Fatalf("unpacked %q instead of %q: %v", got, l, err)
		}
		before := newUnpacker(m, p.text, p.ids)
		for range i {
			before.next(nil, 0, math.MaxInt)
		}
		if _, err := before.next(nil, times[i], len(l)-1); err == nil && l != "" {
			t.Fatalf("%q fits into %d bytes", l, len(l)-1)
		}
		if rest := newUnpacker(m, p.text, p.ids); rest.skip(len(p.text)-len(u.text)) != nil || len(rest.ids) != len(u.ids) {
			t.Fatalf("passing over %d lines leaves %d bytes of digits instead of %d", i+1, len(rest.ids), len(u.ids))
		}
	}
	if len(u.text)+len(u.ids) > 0 {
		t.Fatalf("%d bytes of text and %d of digits are left", len(u.text), len(u.ids))
	}
	return m, p.text, p.ids
}

func TestPack(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6_007_008, time.UTC).UnixNano()
	early := time.Date(1969, 12, 31, 23, 59, 59, 999_000_000, time.UTC).UnixNano()
	const id = "00112233445566778899aabbccddeeff"
	for _, c := range []struct {
		line string
		time int64
		text string // ~ is the escape; what is left of the line
		ids  int    // bytes
	}{
		{"plain", at, "", 0},
		{"", at, "", 0},
		{"at 03:04:05 done", at, "at ~\xa0 done", 0},
		{"at 03:04:05.006 done", at, "at ~\xa1 done", 0},
		{"at 03:04:05,006 done", at, "at ~\xa2 done", 0},
		{"03:04:05.006007Z", at, "~\xa3Z", 0},
		{"03:04:05,006007Z", at, "~\xa4Z", 0},
		{"03:04:05.006007008Z", at, "~\xa5Z", 0},
		{"03:04:05,006007008", at, "~\xa6", 0},
		{"03:04:05.0061 03:04:05", at, "~\xa11 03:04:05", 0},
		{"03:04:05.007", at, "~\xa0.007", 0},
		{"260102 030405 x", at, "260102 ~\xa7 x", 0},
		{"23:59:59.999", early, "~\xa1", 0},
		{"03:04:06", at, "", 0},
		{"a03:04:05", at, "", 0},
		{"x03:04:05", at, "x~\xa0", 0},
		{"20260102030405", at, "", 0},
		{"03:04:05" + id, at, "~\xa0~\x28", 16},
		{strings.Repeat("0f", 127) + id, at, "~\x97~\x28", 143},
		{string(bytes.Repeat([]byte{'x'}, packTimeWithin)) + "03:04:05", at, "", 0},
		{"id=" + id + ";", at, "id=~\x28;", 16},
		{"id=" + id + "f;", at, "id=~\x28f;", 16},
		{"id=001122334455667;", at, "", 0},
		{"id=" + id[:16] + ";", at, "id=~\x20;", 8},
		{"ID=00112233445566778899AABBCCDDEEFF", at, "ID=~\x22AABBCCDDEEFF", 10},
		{id + " 03:04:05 " + id, at, "~\x28 ~\xa0 ~\x28", 32},
	} {
		p := &packer{}
		m, text, ids := packLines(t, p, []string{"", c.line, ""}, []int64{c.time, c.time, c.time})
		if c.text == "" {
			c.text = c.line
		}
		want := bytes.ReplaceAll([]byte("\n"+c.text+"\n\n"), []byte("~"), []byte{m.escape})
		if !bytes.Equal(text, want) || len(ids) != c.ids {
			t.Errorf("%q was packed as %q with %d bytes of digits instead of %q with %d", c.line, text, len(ids), want, c.ids)
		}
	}
}

// TestPackMarks finds bytes that the lines do not have, and leaves lines alone that have all but one.
func TestPackMarks(t *testing.T) {
	mark := func(line string) marks {
		m, _, _ := packLines(t, &packer{}, []string{line}, []int64{0})
		return m
	}
	line := "\x01\x02\x03\x05 00:00:00"
	if got, want := mark(line), (marks{escape: 4, end: '\n'}); got != want {
		t.Errorf("marks are %v instead of %v", got, want)
	}
	line += "\n"
	if got, want := mark(line), (marks{escape: 6, end: 4}); got != want {
		t.Errorf("marks are %v instead of %v", got, want)
	}
	for c := byte(4); c < ' '-1; c++ {
		line += string(c)
	}
	if got := mark(line); got != (marks{}) {
		t.Errorf("marks are %v where there is but one", got)
	}
}

func TestPackRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	p := &packer{}
	for range 300 {
		var lines []string
		var times []int64
		for range r.IntN(20) {
			now := r.Int64() - r.Int64()
			var b []byte
			for range r.IntN(8) {
				switch r.IntN(4) {
				case 0:
					b = time.Unix(0, now).UTC().AppendFormat(b, []string{"15:04:05", "15:04:05.000", "150405", "15:04:05,000000000"}[r.IntN(4)])
				case 1:
					b = fmt.Appendf(b, "%x", r.Uint64()>>r.IntN(64))
				case 2:
					b = append(b, byte(r.UintN(256)))
				default:
					b = append(b, bytes.Repeat([]byte("0f"), r.IntN(300))...)
				}
			}
			lines, times = append(lines, string(b)), append(times, now)
		}
		packLines(t, p, lines, times)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add([]byte("at \x01\xa0 id \x01\x20.\n"), bytes.Repeat([]byte{1}, 8), byte(1), byte('\n'), uint16(90))
	f.Fuzz(func(t *testing.T, text, ids []byte, escape, end byte, limit uint16) {
		if escape == end {
			return
		}
		u := newUnpacker(marks{escape, end}, text, ids)
		passed := u
		var lines []byte
		var err error
		for i := int64(0); err == nil; i++ {
			before := u
			if lines, err = u.next(lines, i, int(limit)); len(lines) > int(limit) {
				t.Fatalf("%d bytes instead of %d at most", len(lines), limit)
			}
			if err == nil {
				if err := before.skip(len(before.text) - len(u.text)); err != nil || len(before.ids) != len(u.ids) {
					t.Fatalf("passing over a line leaves %d bytes of digits instead of %d: %v", len(before.ids), len(u.ids), err)
				}
			}
		}
		_ = passed.skip(len(text))
	})
}

// TestPackRuns compares which digits are packed with the obvious way to find them.
func TestPackRuns(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 9))
	hexRun := regexp.MustCompile(fmt.Sprintf("[0-9a-f]{%d,%d}", minPackedHex, maxPackedHex))
	p := &packer{}
	for range 300 {
		var lines []string
		want := 0
		for range 1 + r.IntN(20) {
			var line []byte
			for range r.IntN(6) {
				for range r.IntN([]int{4, 20, 300}[r.IntN(3)]) {
					line = append(line, "0123456789abcdef"[r.IntN(16)])
				}
				line = append(line, []string{"", "x", "g", "A", " - "}[r.IntN(5)]...)
			}
			for rest := line; ; {
				at := hexRun.FindIndex(rest)
				if at == nil {
					break
				}
				n := (at[1] - at[0]) &^ 1
				want += n / 2
				rest = rest[at[0]+n:]
			}
			lines = append(lines, string(line))
		}
		times := make([]int64, len(lines)) // 00:00:00 is in no line
		if _, _, ids := packLines(t, p, lines, times); len(ids) != want {
			t.Fatalf("%q: %d bytes of digits, want %d", lines, len(ids), want)
		}
	}
}

func BenchmarkPack(b *testing.B) {
	s := sampleRows(1, labels.FromStrings("app", "x"), 3000)
	for i := range s.Times {
		at := s.Lines.Data[s.Lines.Offsets[i]:s.Lines.Offsets[i+1]]
		copy(at[6:], time.Unix(0, s.Times[i]).UTC().Format("15:04:05.000"))
	}
	var lens []uint32
	for i := range s.Times {
		lens = append(lens, s.Lines.Offsets[i+1]-s.Lines.Offsets[i])
	}
	p := &packer{}
	m := freeMarks(s.Lines.Data)
	b.Run("pack", func(b *testing.B) {
		yardstick.Bytes(b, int64(len(s.Lines.Data)))
		for b.Loop() {
			p.reset()
			p.pack(s.Lines.Data, lens, s.Times, m)
		}
	})
	p.reset()
	p.pack(s.Lines.Data, lens, s.Times, m)
	dst := make([]byte, len(s.Lines.Data))
	b.Run("unpack", func(b *testing.B) {
		yardstick.Bytes(b, int64(len(dst)))
		for b.Loop() {
			u := newUnpacker(m, p.text, p.ids)
			out := dst[:0]
			for _, at := range s.Times {
				var err error
				if out, err = u.next(out, at, len(dst)); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
