package compactor

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"example.com/loki/store"
)

// change overwrites a segment with what becomes of it.
func (b *bench) change(id ulid.ULID, change func([]byte) []byte) {
	b.t.Helper()
	name := store.SegmentPath(tenantName, id)
	rc, err := b.bucket.Get(context.Background(), name)
	if err != nil {
		b.t.Fatal(err)
	}
	data, err := io.ReadAll(rc)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.bucket.Upload(context.Background(), name, bytes.NewReader(change(data))); err != nil {
		b.t.Fatal(err)
	}
}

// flip changes a byte of the first page.
func flip(data []byte) []byte {
	data[40] ^= 1
	return data
}

// damaged returns what is reported.
func (b *bench) damaged() []Damage {
	b.t.Helper()
	list, err := b.comp.Damaged(tenant())
	if err != nil {
		b.t.Fatal(err)
	}
	return list
}

// TestMergesBesideDamage: a segment that cannot be read is reported and left alone, all others are merged.
func TestMergesBesideDamage(t *testing.T) {
	b := newBench(t, func(c *Config) { c.VerifyEvery = -1 })
	var ids []ulid.ULID
	for range 4 {
		ids = append(ids, b.put(10, 80*time.Hour, "a"))
	}
	for range 4 {
		b.put(10, 40*time.Hour, "b")
	}
	b.change(ids[1], flip)
	b.run()
	held, err := b.store.Held(tenant())
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, s := range held {
		if !s.Replaced {
			count++
		}
	}
	if count != 3 {
		t.Errorf("%d segments count, want the damaged one and one of each day", count)
	}
	if d := b.damaged(); len(d) != 1 || d[0].Segment != ids[1] {
		t.Errorf("damaged: %v", d)
	}
	b.run() // it is known now
}

// TestReportsBrokenFooter: a segment whose end is missing is in the report too, and out of it once it is restored.
func TestReportsBrokenFooter(t *testing.T) {
	b := newBench(t, func(c *Config) { c.VerifyEvery = 7 * 24 * time.Hour })
	id := b.put(10, time.Hour, "a")
	var good []byte
	b.change(id, func(data []byte) []byte {
		good = bytes.Clone(data)
		return data[:len(data)-20]
	})
	other := b.otherStore() // as after a start, without a catalog
	b.comp.store = other
	b.run()
	d := b.damaged()
	if len(d) != 1 || d[0].Segment != id {
		t.Fatalf("damaged: %v", d)
	}
	b.now = b.now.Add(10 * time.Minute)
	b.run()
	if again := b.damaged(); len(again) != 1 || !again[0].Found.Equal(d[0].Found) {
		t.Errorf("damaged: %v, first %v", again, d)
	}
	b.change(id, func([]byte) []byte { return good })
	b.now = b.now.Add(2 * time.Hour)
	b.run()
	if d := b.damaged(); len(d) != 0 {
		t.Errorf("still damaged: %v", d)
	}
}

// TestRestoredSegment: what is restored is no damage any more long before all is verified again.
func TestRestoredSegment(t *testing.T) {
	b := newBench(t, func(c *Config) { c.VerifyEvery = 7 * 24 * time.Hour })
	id := b.put(10, time.Hour, "a")
	b.change(id, flip)
	b.run()
	if d := b.damaged(); len(d) != 1 {
		t.Fatalf("damaged: %v", d)
	}
	b.change(id, flip)
	b.now = b.now.Add(2 * time.Hour)
	b.run()
	if d := b.damaged(); len(d) != 0 {
		t.Errorf("still damaged: %v", d)
	}
}
