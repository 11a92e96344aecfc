// Package yardstick measures benchmarks by something that does not change with the code: how fast zstd decompresses
// log lines, in the same process and the moment after. MB/s of two machines, or of a machine that is busy and then is not,
// cannot be compared; multiples of zstd's speed can, well enough to see that something takes twice as long.
package yardstick

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Unit is the name of the metric: the benchmark's speed as a multiple of that of zstd.
const Unit = "of-zstd"

// Bytes says that the benchmark processes so many bytes each time, as b.SetBytes does, and has it report its allocations
// and, as Unit, its speed over that of zstd, which is measured when the benchmark is over. It is called just before the
// benchmark's loop: from there on processor time counts, where it is known, so that the wait for a processor that others use does
// not.
func Bytes(b *testing.B, n int64) { BytesOf(b, &n) }

// BytesOf does the same where it is known only after the loop how many bytes it processes each time.
func BytesOf(b *testing.B, n *int64) {
	b.ReportAllocs()
	begin := now()
	b.Cleanup(func() {
		end := now()
		if b.Failed() || b.Elapsed() <= 0 {
			return
		}
		b.SetBytes(*n)
		speed := float64(*n) * float64(b.N) / (b.Elapsed().Seconds() * begin.share(end))
		b.ReportMetric(speed/zstdSpeed(b, min(b.Elapsed(), 30*time.Millisecond)), Unit)
	})
}

// moment is a point in time.
type moment struct {
	wall time.Time
	cpu  time.Duration // that the process has used; 0 if unknown
}

func now() moment { return moment{time.Now(), cpuTime()} }

// share returns which part of the time until the end the process had a processor: 1 if that is not known.
func (m moment) share(end moment) float64 {
	wall, cpu := end.wall.Sub(m.wall), end.cpu-m.cpu
	if cpu <= 0 || wall <= 0 {
		return 1
	}
	return float64(cpu) / float64(wall)
}

// sample makes some log lines and what zstd makes of them.
func sample(b *testing.B) (plain, stored []byte) {
	r := rand.New(rand.NewPCG(1, 2))
	for len(plain) < 256<<10 {
		plain = fmt.Appendf(plain, "level=%s caller=pay.go:%d msg=\"payment accepted by bank\" amount=%d.50 customer=c-%d duration=%dms trace=%016x\n",
			[]string{"info", "info", "warn", "error"}[r.IntN(4)], r.IntN(200), r.IntN(1000), r.IntN(3000), r.IntN(2000), r.Uint64())
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		b.Fatal(err)
	}
	defer enc.Close()
	return plain, enc.EncodeAll(plain, nil)
}

// zstdSpeed returns the bytes a second that one processor decompresses, measured for as long as it is told, and at least once.
func zstdSpeed(b *testing.B, long time.Duration) float64 {
	plain, stored := sample(b)
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		b.Fatal(err)
	}
	defer dec.Close()
	buf := make([]byte, 0, len(plain))
	if buf, err = dec.DecodeAll(stored, buf); err != nil { // makes the decoder's tables
		b.Fatal(err)
	}
	runs, begin, end := 0, now(), moment{}
	for ; runs == 0 || end.wall.Sub(begin.wall).Seconds()*begin.share(end) < long.Seconds(); end = now() {
		if buf, err = dec.DecodeAll(stored, buf[:0]); err != nil {
			b.Fatal(err)
		}
		runs++
	}
	return float64(runs) * float64(len(plain)) / (end.wall.Sub(begin.wall).Seconds() * begin.share(end))
}
