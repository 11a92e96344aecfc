package ingester

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"example.com/loki/internal/bench/yardstick"
)

// BenchmarkHead measures what a push costs besides the disk: its payload, its record in the log, and its rows in the head.
func BenchmarkHead(b *testing.B) {
	at := int64(1)
	req, size := benchPush(rand.New(rand.NewPCG(1, 2)), 100, 5000, &at)
	t := &tenant{id: "a", active: make(map[uint64]int32)}
	p := newPart(ulid.ULID{1}, time.Unix(0, 0))
	var spans []span
	for n := range req.Streams {
		s := p.add(uint64(n), req.Streams[n].Labels, p.nextRef, 0)
		spans = append(spans, span{ref: uint32(n), n: len(req.Streams[n].Entries), stream: s})
	}
	push := &pendingPush{tenant: t, part: p}
	e := &encoder{}
	b.Run("encode", func(b *testing.B) {
		yardstick.Bytes(b, size)
		for b.Loop() {
			e.chunk(0, push, req, spans, place{})
		}
	})
	c, _ := e.chunk(0, push, req, spans, place{})
	b.Run("record", func(b *testing.B) {
		codec, err := newCodec(CompressS2)
		if err != nil {
			b.Fatal(err)
		}
		defer codec.close()
		var record []byte
		yardstick.Bytes(b, size)
		for b.Loop() {
			record = codec.appendRecord(record[:0], nil, c.payload)
		}
		b.ReportMetric(float64(size)/float64(len(record)), "ratio")
	})
	b.Run("append", func(b *testing.B) {
		yardstick.Bytes(b, size)
		for n := 0; b.Loop(); n++ {
			if n%64 == 0 { // a part's worth
				p.blocks = nil
				for _, s := range p.streams {
					s.rows, s.clean = nil, 0
				}
			}
			p.append(c.payload, &c.entries, true)
		}
	})
}
