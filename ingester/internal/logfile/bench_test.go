package logfile

import (
	"math/rand/v2"
	"testing"

	"example.com/loki/internal/bench/yardstick"
)

// BenchmarkAppend measures the log in files of 16 MiB: without a sync, and with one for each record, which is what the disk takes.
func BenchmarkAppend(b *testing.B) {
	record := make([]byte, 200<<10)
	rand.NewChaCha8([32]byte{1}).Read(record)
	for name, sync := range map[string]bool{"no-sync": false, "sync": true} {
		b.Run(name, func(b *testing.B) {
			l := Open(b.TempDir(), nil, CreateFile)
			yardstick.Bytes(b, int64(len(record)))
			for b.Loop() {
				if err := l.Append(sync, record); err != nil {
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
		})
	}
}
