package logfile

import (
	"math/rand/v2"
	"testing"

	"example.com/loki/internal/bench/yardstick"
)

// BenchmarkAppend measures the log without a sync, in files of 16 MiB.
func BenchmarkAppend(b *testing.B) {
	record := make([]byte, 200<<10)
	rand.NewChaCha8([32]byte{1}).Read(record)
	l := Open(b.TempDir(), nil, CreateFile)
	yardstick.Bytes(b, int64(len(record)))
	for b.Loop() {
		if err := l.Append(false, record); err != nil {
			b.Fatal(err)
		}
		if l.CurrentSize() < 16<<20 {
			continue
		}
		if err := l.Roll(); err != nil {
			b.Fatal(err)
		}
		if err := l.Remove(l.Index()); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}
