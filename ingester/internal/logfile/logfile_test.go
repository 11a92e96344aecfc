package logfile

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

// sizes of records that meet page boundaries in all ways.
func testRecords() [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	var recs [][]byte
	for _, n := range []int{1, 0, 10, pageSize - headerSize, pageSize, 3*pageSize + 5, 5, 100, 7, pageSize - 2*headerSize - 3} {
		recs = append(recs, randomBytes(r, n))
	}
	for range 150 {
		recs = append(recs, randomBytes(r, r.IntN(1000)))
	}
	for n := range 60 { // walk the end of a record over the end of a page
		recs = append(recs, randomBytes(r, pageSize-headerSize-30+n))
	}
	return recs
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func write(t *testing.T, dir string, recs [][]byte) string {
	t.Helper()
	l := Open(dir, nil, CreateFile)
	for n := 0; n < len(recs); n += 7 {
		if err := l.Append(false, recs[n:min(n+7, len(recs))]...); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return Name(dir, 0)
}

func readFile(t *testing.T, path string) (recs [][]byte, damage []*Damage, tail *Damage) {
	t.Helper()
	_, tail, err := Read(path, func(rec []byte, _ int64) error {
		recs = append(recs, bytes.Clone(rec))
		return nil
	}, func(d *Damage) { damage = append(damage, d) })
	if err != nil {
		t.Fatal(err)
	}
	return recs, damage, tail
}

func same(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }

func TestRoundTrip(t *testing.T) {
	recs := testRecords()
	path := write(t, t.TempDir(), recs)
	got, damage, tail := readFile(t, path)
	if !same(got, recs) || len(damage) > 0 || tail != nil {
		t.Errorf("read %d records, damage %v, tail %v; want %d", len(got), damage, tail, len(recs))
	}
}

// TestWlog checks that the format is that of tsdb/wlog, in both directions and for both of our readers.
func TestWlog(t *testing.T) {
	recs := testRecords()
	f, err := os.Open(write(t, t.TempDir(), recs))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var got [][]byte
	r := wlog.NewReader(f)
	for r.Next() {
		got = append(got, bytes.Clone(r.Record()))
	}
	if r.Err() != nil || !same(got, recs) {
		t.Errorf("wlog reads %d of our %d records, %v", len(got), len(recs), r.Err())
	}

	dir := t.TempDir()
	w, err := wlog.NewSize(nil, nil, dir, 256*pageSize, compression.None)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Log(recs...), w.Close()); err != nil {
		t.Fatal(err)
	}
	got, damage, tail := readFile(t, Name(dir, 0))
	if !same(got, recs) || len(damage) > 0 || tail != nil {
		t.Errorf("we read %d of wlog's %d records, damage %v, tail %v", len(got), len(recs), damage, tail)
	}
	sf, err := os.Open(Name(dir, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer sf.Close()
	s := salvager{f: sf}
	if err := s.seek(0); err != nil {
		t.Fatal(err)
	}
	for n := range recs {
		rec, err := s.next()
		if err != nil || !bytes.Equal(rec, recs[n]) {
			t.Fatalf("salvager: record %d is %d bytes, %v; want %d", n, len(rec), err, len(recs[n]))
		}
	}
}

// TestDamage flips bytes all over a file: no record may come back changed, those in other pages must come back, and
// the damage is reported.
func TestDamage(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var recs [][]byte
	for n := range 400 {
		recs = append(recs, append(fmt.Appendf(nil, "%04d", n), randomBytes(r, r.IntN(700))...))
	}
	path := write(t, t.TempDir(), recs)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(t.TempDir(), "00000000")
	for range 150 {
		b := bytes.Clone(good)
		at := r.IntN(len(b))
		b[at] ^= byte(1 << r.IntN(8))
		if err := os.WriteFile(bad, b, 0o600); err != nil {
			t.Fatal(err)
		}
		got, damage, tail := readFile(t, bad)
		if len(got) == len(recs) {
			if !same(got, recs) {
				t.Fatalf("byte %d: a changed record was read", at)
			}
			continue // the byte meant nothing: padding is checked, but wlog ignores three bits of the type
		}
		if len(damage) == 0 && tail == nil {
			t.Fatalf("byte %d: %d of %d records and no damage reported", at, len(got), len(recs))
		}
		for _, g := range got {
			if !slices.ContainsFunc(recs, func(r []byte) bool { return bytes.Equal(r, g) }) {
				t.Fatalf("byte %d: a changed record was read", at)
			}
		}
		// About 90 records are in a page; two records more may cross its ends.
		if lost := len(recs) - len(got); lost > 140 {
			t.Errorf("byte %d: %d records lost", at, lost)
		}
	}
}

func TestTornEnd(t *testing.T) {
	recs := testRecords()[:9]
	path := write(t, t.TempDir(), recs)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	short := filepath.Join(t.TempDir(), "00000000")
	for n := 0; n < len(good); n += 1 + n%1297 {
		if err := os.WriteFile(short, good[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		got, damage, tail := readFile(t, short)
		if len(damage) > 0 || !same(got, recs[:len(got)]) {
			t.Fatalf("%d bytes: %d records, damage %v", n, len(got), damage)
		}
		end, _, _ := Read(short, func([]byte, int64) error { return nil }, nil)
		if tail == nil && int64(n)-end > pageSize || tail != nil && tail.Offset != end {
			t.Fatalf("%d bytes: tail %v, good to %d", n, tail, end)
		}
	}
}

// failingFile fails as told.
type failingFile struct {
	File
	disk *disk
}

type disk struct {
	room                   int // bytes that can still be written; negative: no limit
	failSync, failTruncate bool
}

var errFull = errors.New("no room")

func (d *disk) create(path string) (File, error) {
	f, err := CreateFile(path)
	return &failingFile{f, d}, err
}

func (f *failingFile) Write(p []byte) (int, error) {
	if f.disk.room >= 0 && len(p) > f.disk.room {
		n, _ := f.File.Write(p[:f.disk.room])
		f.disk.room = 0
		return n, errFull
	}
	if f.disk.room >= 0 {
		f.disk.room -= len(p)
	}
	return f.File.Write(p)
}

func (f *failingFile) Sync() error {
	if f.disk.failSync {
		return errFull
	}
	return f.File.Sync()
}

func (f *failingFile) Truncate(n int64) error {
	if f.disk.failTruncate {
		return errFull
	}
	return f.File.Truncate(n)
}

// TestFailingDisk lets writes, syncs and the taking back fail, and checks that what was acknowledged is
// read, in order.
func TestFailingDisk(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for round := range 8 {
		dir := t.TempDir()
		d := &disk{room: -1}
		l := Open(dir, nil, d.create)
		var acked, refused [][]byte
		for n := range 60 {
			d.room, d.failSync, d.failTruncate = -1, false, false
			if n%3 == 1 {
				switch r.IntN(3) {
				case 0:
					d.room = r.IntN(3 * pageSize)
				case 1:
					d.failSync = true
				case 2:
					d.room, d.failTruncate = r.IntN(2*pageSize), true
				}
			}
			var recs [][]byte
			for k := range 3 {
				recs = append(recs, append(fmt.Appendf(nil, "%d.%d ", n, k), randomBytes(r, r.IntN(pageSize))...))
			}
			if err := l.Append(true, recs...); err != nil {
				refused = append(refused, recs...)
			} else {
				acked = append(acked, recs...)
			}
			if r.IntN(10) == 0 {
				_ = l.Roll()
			}
		}
		d.room, d.failSync, d.failTruncate = -1, false, false
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		files, err := List(dir)
		if err != nil {
			t.Fatal(err)
		}
		var got [][]byte
		size := int64(0)
		for _, f := range files {
			size += f.Size
			recs, _, _ := readFile(t, Name(dir, f.Index))
			for _, rec := range recs {
				if !slices.ContainsFunc(refused, func(r []byte) bool { return bytes.Equal(r, rec) }) {
					got = append(got, rec)
				}
			}
		}
		if !same(got, acked) {
			t.Fatalf("round %d: read %d records, acknowledged were %d", round, len(got), len(acked))
		}
		if len(refused) == 0 {
			t.Error("nothing was refused: the test shows nothing")
		}
	}
}

func TestNoTrailOfEmptyFiles(t *testing.T) {
	dir := t.TempDir()
	d := &disk{room: 0}
	l := Open(dir, nil, d.create)
	for range 10 {
		if err := l.Append(true, []byte("x")); !errors.Is(err, errFull) {
			t.Fatal(err)
		}
	}
	if files, err := List(dir); err != nil || len(files) != 0 {
		t.Errorf("files left: %v, %v", files, err)
	}
	d.room = -1
	if err := errors.Join(l.Append(true, []byte("x")), l.Roll(), l.Append(true, []byte("y")), l.Remove(1)); err != nil {
		t.Fatal(err)
	}
	if files, _ := List(dir); len(files) != 1 || files[0].Index != 1 || l.Size() != files[0].Size {
		t.Errorf("files %v, size %d", files, l.Size())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func FuzzRead(f *testing.F) {
	var good []byte
	for _, rec := range [][]byte{[]byte("one"), bytes.Repeat([]byte("x"), 40000), nil, []byte("two")} {
		good = appendRecord(good, int64(len(good)), rec)
	}
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Add([]byte{0x19, 0, 1, 2, 3})
	path := filepath.Join(f.TempDir(), "00000000")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		last := int64(-1)
		good, _, err := Read(path, func(_ []byte, end int64) error {
			if end <= last || end > int64(len(b)) {
				t.Errorf("record ends at %d behind %d of %d", end, last, len(b))
			}
			last = end
			return nil
		}, func(*Damage) {})
		if err != nil || good > int64(len(b)) {
			t.Errorf("good up to %d of %d, %v", good, len(b), err)
		}
	})
}
