package store

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"example.com/loki/logql/column"
)

func TestTimes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for name, gen := range map[string]func(i int) uint64{
		"none":         func(int) uint64 { return 0 },
		"every second": func(int) uint64 { return 1e9 },
		"random ns":    func(int) uint64 { return uint64(r.ExpFloat64() * 1e9) },
		"random ms":    func(int) uint64 { return uint64(r.ExpFloat64()*1e3) * 1e6 },
		"bursts":       func(i int) uint64 { return uint64(i%50/49) * r.Uint64N(1e12) },
		"any":          func(int) uint64 { return r.Uint64() >> r.IntN(64) },
		"largest":      func(int) uint64 { return math.MaxUint64 },
		"jitter":       func(int) uint64 { return 1e10 + r.Uint64N(1e6) },
	} {
		for _, n := range []int{0, 1, 127, 128, 129, 1000} {
			want := make([]uint64, n)
			for i := range want {
				want[i] = gen(i)
			}
			b := appendTimes(nil, slices.Clone(want))
			got := make([]uint64, n)
			if err := decodeTimes(got, b); err != nil || !slices.Equal(got, want) {
				t.Fatalf("%s, %d differences: %v, equal %v", name, n, err, slices.Equal(got, want))
			}
			if n == 1000 {
				t.Logf("%-12s %.2f bits each", name, float64(8*len(b))/float64(n))
			}
			if len(b) > 0 && decodeTimes(got, b[:len(b)-1]) == nil {
				t.Errorf("%s: a shortened code is accepted", name)
			}
		}
	}
}

func TestPlanes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for width := range 33 {
		want := make([]uint32, 100)
		for i := range want {
			want[i] = uint32(r.Uint64N(1 << width))
		}
		d := decbuf{b: appendPlanes(nil, want)}
		got := make([]uint32, 100)
		d.planes(got)
		if err := d.end(); err != nil || !slices.Equal(got, want) {
			t.Fatalf("width %d: %v, got %v, want %v", width, err, got, want)
		}
	}
}

func TestMetadataColumns(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	const rows = 200
	for name, test := range map[string]struct {
		value func(i int) string // "-": none
		size  int                // at most
	}{
		"constant":   {func(int) string { return "prod" }, 10},
		"level":      {func(int) string { return []string{"info", "error", "-"}[r.IntN(3)] }, rows + 20},
		"hex":        {func(int) string { return fmt.Sprintf("%032x", r.Uint64()) }, 16*rows + 10},
		"hex, some":  {func(i int) string { return []string{"-", fmt.Sprintf("%04x", r.Uint32()&0xffff)}[i%2] }, 2*rows + 10},
		"odd hex":    {func(int) string { return "abc" }, 10},
		"UUID":       {func(int) string { return fmt.Sprintf("%08x-1234-5678-9abc-%012x", r.Uint32(), r.Uint32()) }, 16*rows + 10},
		"upper UUID": {func(int) string { return "0000000A-1234-5678-9abc-000000000000" }, 50},
		"empty":      {func(i int) string { return []string{"", "x"}[i%2] }, rows + 20},
		"numbers":    {func(i int) string { return fmt.Sprint(i * i) }, 8 * rows},
		"binary":     {func(int) string { return string([]byte{0, byte(r.IntN(256)), 0xff}) }, 6 * rows},
		"late":       {func(i int) string { return []string{"-", "x"}[i/199] }, rows + 20},
	} {
		var in column.Metadata
		var want []string
		for i := range rows {
			v := test.value(i)
			want = append(want, v)
			if v == "-" {
				in.Index = append(in.Index, 0)
				continue
			}
			in.Values = append(in.Values, []byte(v)) // repeated values must be found equal
			in.Index = append(in.Index, uint32(len(in.Values)))
		}
		p := newPageBuilder(pageRawTarget)
		m := p.column(name)
		m.add(in, 0, 50, 0, make(remap, len(in.Values)), 1)
		m.add(in, 50, rows, 50, make(remap, len(in.Values)), 1)
		raw := m.append(nil, rows)
		if len(raw) > test.size {
			t.Errorf("%s: %d bytes, want at most %d", name, len(raw), test.size)
		}
		got, err := decodeMetadata(raw, rows)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		over, err := decodeOverflow(appendOverflow(nil, []*metaBuilder{m}), rows)
		if err != nil {
			t.Errorf("%s: overflow: %v", name, err)
			continue
		}
		for what, md := range map[string]column.Metadata{"column": got, "overflow": over.column(name, rows)} {
			for i := range rows {
				v, ok := md.Row(i)
				if !ok {
					v = []byte("-")
				}
				if string(v) != want[i] {
					t.Fatalf("%s, %s: row %d is %q, want %q", name, what, i, v, want[i])
				}
			}
		}
	}
}

func TestSpool(t *testing.T) {
	for _, limit := range []int{0, 1 << 10, 100 << 10, 3 << 20, 100 << 20} {
		s := &spool{limit: limit, dir: t.TempDir()}
		r := rand.New(rand.NewPCG(1, 1))
		var want []byte
		for range 50 {
			p := make([]byte, r.IntN(100<<10))
			p[0], p[len(p)-1] = byte(r.IntN(256)), 7
			want = append(want, p...)
			if n, err := s.Write(p); n != len(p) || err != nil {
				t.Fatal(n, err)
			}
		}
		rd, err := s.reader()
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if _, err := got.ReadFrom(rd); err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("limit %d: %d bytes instead of %d, %v", limit, got.Len(), len(want), err)
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
		if files, _ := os.ReadDir(s.dir); len(files) > 0 {
			t.Errorf("limit %d: temporary file is left", limit)
		}
	}
}

func TestTenantNames(t *testing.T) {
	seen := make(map[string]string)
	for _, id := range []string{"a", "A", "aA", "Aa", "=a", "%41", "..", ".", "con", "CON", "com1", "con.txt", "nul", "a b", "ä", "_-x", "\x00", "a/b"} {
		name := escapeTenant(id)
		if other, ok := seen[strings.ToLower(name)]; ok {
			t.Errorf("%q and %q have one name: %q", id, other, name)
		}
		seen[strings.ToLower(name)] = id
		if strings.ContainsAny(name, "/\\. :*?\"<>|\x00") || reservedName(name) {
			t.Errorf("escapeTenant(%q) = %q", id, name)
		}
		if back, ok := unescapeTenant(name); !ok || back != id {
			t.Errorf("unescapeTenant(%q) = %q, %v; want %q", name, back, ok, id)
		}
	}
	for _, name := range []string{"", "A", "%", "%4", "%61", "=", "=A", "a.b", "%zz"} {
		if id, ok := unescapeTenant(name); ok {
			t.Errorf("unescapeTenant(%q) = %q", name, id)
		}
	}
}
