package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// packLines packs and unpacks.
func packLines(t testing.TB, p *packer, lines []string, times []int64) (escape byte, text, ids []byte) {
	t.Helper()
	var data []byte
	var lens []uint32
	offsets := []uint32{0}
	for _, l := range lines {
		data = append(data, l...)
		lens = append(lens, uint32(len(l)))
		offsets = append(offsets, uint32(len(data)))
	}
	p.reset()
	if escape = freeEscape(data); escape == 0 {
		return 0, nil, nil
	}
	p.pack(data, lens, times, escape)
	got := make([]byte, len(data))
	if err := unpack(got, p.text, p.ids, escape, offsets, times); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Fatalf("unpacked %q instead of %q", got, data)
	}
	return escape, p.text, p.ids
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
		{"at 03:04:05 done", at, "at ~\x80 done", 0},
		{"at 03:04:05.006 done", at, "at ~\x81 done", 0},
		{"at 03:04:05,006 done", at, "at ~\x82 done", 0},
		{"03:04:05.006007Z", at, "~\x83Z", 0},
		{"03:04:05,006007Z", at, "~\x84Z", 0},
		{"03:04:05.006007008Z", at, "~\x85Z", 0},
		{"03:04:05,006007008", at, "~\x86", 0},
		{"03:04:05.0061 03:04:05", at, "~\x811 03:04:05", 0},
		{"03:04:05.007", at, "~\x80.007", 0},
		{"260102 030405 x", at, "260102 ~\x87 x", 0},
		{"23:59:59.999", early, "~\x81", 0},
		{"03:04:06", at, "", 0},
		{string(bytes.Repeat([]byte{'x'}, packTimeWithin)) + "03:04:05", at, "", 0},
		{"id=" + id + ";", at, "id=~\x10;", 16},
		{"id=" + id + "f;", at, "id=~\x10f;", 16},
		{"id=001122334455667;", at, "", 0},
		{"id=" + id[:16] + ";", at, "id=~\x08;", 8},
		{"ID=00112233445566778899AABBCCDDEEFF", at, "ID=~\x0aAABBCCDDEEFF", 10},
		{id + " 03:04:05 " + id, at, "~\x10 ~\x80 ~\x10", 32},
	} {
		p := &packer{}
		escape, text, ids := packLines(t, p, []string{"", c.line, ""}, []int64{c.time, c.time, c.time})
		want := bytes.ReplaceAll([]byte(c.text), []byte("~"), []byte{escape})
		if c.text == "" {
			if len(text) != len(c.line) {
				t.Errorf("%q was packed as %q", c.line, text)
			}
			continue
		}
		if !bytes.Equal(text, want) || len(ids) != c.ids {
			t.Errorf("%q was packed as %q with %d bytes of digits instead of %q with %d", c.line, text, len(ids), want, c.ids)
		}
	}
}

// TestPackEscape finds a byte that the lines do not have, and leaves lines alone that have all.
func TestPackEscape(t *testing.T) {
	line := "\x01\x02\x03\x05 00:00:00"
	if escape, _, _ := packLines(t, &packer{}, []string{line}, []int64{0}); escape != 4 {
		t.Errorf("escape is %d instead of 4", escape)
	}
	for c := byte(4); c < ' '; c++ {
		line += string(c)
	}
	if escape, _, _ := packLines(t, &packer{}, []string{line}, []int64{0}); escape != 0 {
		t.Errorf("escape is %d, which the line has", escape)
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
	f.Add([]byte("at \x01\x80 id \x01\x02."), []byte{1, 2}, byte(1), uint16(17), uint16(3))
	f.Fuzz(func(t *testing.T, text, ids []byte, escape byte, size, cut uint16) {
		cut = min(cut, size)
		offsets := []uint32{0, uint32(cut), uint32(size)}
		_ = unpack(make([]byte, size), text, ids, escape, offsets, []int64{1, 2e9})
	})
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
	escape := freeEscape(s.Lines.Data)
	b.Run("pack", func(b *testing.B) {
		b.SetBytes(int64(len(s.Lines.Data)))
		b.ReportAllocs()
		for b.Loop() {
			p.reset()
			p.pack(s.Lines.Data, lens, s.Times, escape)
		}
	})
	dst := make([]byte, len(s.Lines.Data))
	b.Run("unpack", func(b *testing.B) {
		b.SetBytes(int64(len(dst)))
		b.ReportAllocs()
		for b.Loop() {
			if err := unpack(dst, p.text, p.ids, escape, s.Lines.Offsets, s.Times); err != nil {
				b.Fatal(err)
			}
		}
	})
}
