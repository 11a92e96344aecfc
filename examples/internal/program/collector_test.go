package program

import "testing"

func TestGarbagePercent(t *testing.T) {
	for _, tt := range []struct {
		live uint64
		want int
	}{
		{0, mostGarbage}, {20 << 20, mostGarbage}, {192 << 20, mostGarbage},
		{240 << 20, 40}, {320 << 20, 30}, {2 << 30, leastGarbage},
	} {
		if got := garbagePercent(tt.live); got != tt.want {
			t.Errorf("garbagePercent(%d MiB) = %d, want %d", tt.live>>20, got, tt.want)
		}
	}
}
