package syntax

import (
	"math"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for _, tc := range []struct {
		text string
		want time.Duration
	}{
		{"0", 0}, {"0s", 0}, {"5m", 5 * time.Minute}, {"1h30m", 90 * time.Minute}, {"1d", day}, {"2w", 2 * week},
		{"1y", year}, {"1y2w3d4h5m6s7ms", year + 2*week + 3*day + 4*time.Hour + 5*time.Minute + 6*time.Second + 7*time.Millisecond},
		{"1500ms", 1500 * time.Millisecond}, {"1.5s", 1500 * time.Millisecond}, {"-1.5h", -90 * time.Minute},
		{"30m1h", 90 * time.Minute}, {"10us", 10 * time.Microsecond}, {"10µs", 10 * time.Microsecond}, {"7ns", 7},
	} {
		if got, err := ParseDuration(tc.text); err != nil || got != tc.want {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", tc.text, got, err, tc.want)
		}
	}
	for _, text := range []string{
		"", "5", "m", "5x", "5 m", " 5m", "1.5d", "-1d", "1m1d", "1d1d", "9223372036854775808s", "300y", "292y52w", "1m-", "--1s", "∞s",
	} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", text, got)
		}
	}
}

func TestFormatRange(t *testing.T) {
	for _, tc := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0s"}, {time.Minute, "1m"}, {90 * time.Minute, "1h30m"}, {1500 * time.Millisecond, "1s500ms"},
		{day, "1d"}, {7 * day, "1w"}, {90 * day, "90d"}, {year, "1y"}, {8 * day, "8d"}, {year + time.Hour, "365d1h"},
	} {
		got := formatRange(tc.d)
		if got != tc.want {
			t.Errorf("formatRange(%d) = %q, want %q", tc.d, got, tc.want)
		}
		if back, err := parseRange(got); err != nil || back != tc.d {
			t.Errorf("parseRange(%q) = %v, %v, want %v", got, back, err, tc.d)
		}
	}
}

func TestParseBytes(t *testing.T) {
	for _, tc := range []struct {
		text string
		want uint64
	}{
		{"0", 0}, {"512", 512}, {"512B", 512}, {"1k", 1000}, {"1K", 1000}, {"1kb", 1000}, {"1KB", 1000}, {"1KiB", 1024},
		{"1ki", 1024}, {"5 MB", 5e6}, {"2.5MB", 2.5e6}, {"1.5GiB", 3 << 29}, {"1,024B", 1024}, {"3TB", 3e12}, {"1PiB", 1 << 50},
		{"18446744073709551615B", math.MaxUint64}, {"9007199254740993", 9007199254740993}, {"1.5B", 1}, {".5KB", 500},
	} {
		if got, err := ParseBytes(tc.text); err != nil || got != tc.want {
			t.Errorf("ParseBytes(%q) = %d, %v, want %d", tc.text, got, err, tc.want)
		}
	}
	for _, text := range []string{"", "B", "-1B", "1xB", "1.2.3KB", "20EB", "18446744073709551616", "1 K B", "1KBBBBB", "1e3"} {
		if got, err := ParseBytes(text); err == nil {
			t.Errorf("ParseBytes(%q) = %d, want an error", text, got)
		}
	}
}

func TestFormatBytes(t *testing.T) {
	for _, tc := range []struct {
		n    uint64
		want string
	}{
		{0, "0B"}, {999, "999B"}, {1000, "1.0kB"}, {3000, "3.0kB"}, {20e6, "20MB"}, {2500e6, "2.5GB"},
		{1024, "1024B"}, {1536, "1536B"}, {19922944, "19922944B"}, {math.MaxUint64, "18446744073709551615B"},
	} {
		got := formatBytes(tc.n)
		if got != tc.want {
			t.Errorf("formatBytes(%d) = %q, want %q", tc.n, got, tc.want)
		}
		if back, err := ParseBytes(got); err != nil || back != tc.n {
			t.Errorf("ParseBytes(%q) = %d, %v, want %d", got, back, err, tc.n)
		}
	}
}
