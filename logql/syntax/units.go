package syntax

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	day  = 24 * time.Hour
	week = 7 * day
	year = 365 * day
)

// ParseDuration reads a duration as LogQL and the HTTP API write it: Prometheus' form, whole numbers
// with the units y, w, d, h, m, s and ms from large to small (1h30m, 2w), or Go's (1.5s, -300ms).
func ParseDuration(text string) (time.Duration, error) {
	d, err := parseRange(text)
	if err == nil {
		return d, nil
	}
	if d, goErr := time.ParseDuration(text); goErr == nil {
		return d, nil
	}
	return 0, err
}

var rangeUnits = []struct {
	name string
	unit time.Duration
}{{"y", year}, {"w", week}, {"d", day}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}}

// parseRange reads a duration in Prometheus' form, the only one that a range may have.
func parseRange(text string) (time.Duration, error) {
	switch text {
	case "":
		return 0, errors.New("empty duration string")
	case "0":
		return 0, nil
	}
	var sum time.Duration
	next := 0 // the units before this one have been used or passed
	for rest := text; rest != ""; {
		digits := 0
		for digits < len(rest) && isDigit(rest[digits]) {
			digits++
		}
		letters := digits
		for letters < len(rest) && !isDigit(rest[letters]) {
			letters++
		}
		if digits == 0 || digits == letters {
			return 0, fmt.Errorf("not a valid duration string: %q", text)
		}
		at := -1
		for i, u := range rangeUnits {
			if u.name == rest[digits:letters] {
				at = i
			}
		}
		if at < 0 {
			if strings.ContainsAny(rest[digits:letters], " .:-") {
				return 0, fmt.Errorf("not a valid duration string: %q", text)
			}
			return 0, fmt.Errorf("unknown unit %q in duration %q", rest[digits:letters], text)
		}
		if at < next {
			return 0, fmt.Errorf("not a valid duration string: %q", text)
		}
		next = at + 1
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		if err != nil || n > int64(math.MaxInt64/rangeUnits[at].unit) {
			return 0, fmt.Errorf("duration out of range: %q", text)
		}
		if sum += time.Duration(n) * rangeUnits[at].unit; sum < 0 {
			return 0, fmt.Errorf("duration out of range: %q", text)
		}
		rest = rest[letters:]
	}
	return sum, nil
}

// formatRange is the inverse of parseRange. What is below a millisecond is lost.
func formatRange(d time.Duration) string {
	if d < time.Millisecond {
		return "0s"
	}
	var b strings.Builder
	for _, u := range rangeUnits {
		if u.unit >= week && d%u.unit != 0 {
			continue // 90d reads better than 12w6d
		}
		if n := d / u.unit; n > 0 {
			b.WriteString(strconv.FormatInt(int64(n), 10))
			b.WriteString(u.name)
			d %= u.unit
		}
	}
	return b.String()
}

// byteUnits in lower case.
var byteUnits = map[string]uint64{
	"": 1, "b": 1,
	"k": 1e3, "kb": 1e3, "m": 1e6, "mb": 1e6, "g": 1e9, "gb": 1e9,
	"t": 1e12, "tb": 1e12, "p": 1e15, "pb": 1e15, "e": 1e18, "eb": 1e18,
	"ki": 1 << 10, "kib": 1 << 10, "mi": 1 << 20, "mib": 1 << 20, "gi": 1 << 30, "gib": 1 << 30,
	"ti": 1 << 40, "tib": 1 << 40, "pi": 1 << 50, "pib": 1 << 50, "ei": 1 << 60, "eib": 1 << 60,
}

// ParseBytes reads a size such as "512", "1.5 KiB" or "20MB". Units ignore case; K, KB… are powers of
// 1000, KiB… of 1024. A number may have commas between its digits. What is below a byte is cut off.
func ParseBytes(text string) (uint64, error) {
	digits := 0
	for digits < len(text) && (isDigit(text[digits]) || text[digits] == '.' || text[digits] == ',') {
		digits++
	}
	number := text[:digits]
	if strings.IndexByte(number, ',') >= 0 {
		number = strings.ReplaceAll(number, ",", "")
	}
	unit, ok := byteUnit(strings.TrimSpace(text[digits:]))
	if !ok {
		return 0, fmt.Errorf("unknown unit in size %q", text)
	}
	if n, err := strconv.ParseUint(number, 10, 64); err == nil {
		if n > math.MaxUint64/unit {
			return 0, fmt.Errorf("size out of range: %q", text)
		}
		return n * unit, nil
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0, fmt.Errorf("not a valid size: %q", text)
	}
	if f *= float64(unit); f >= math.MaxUint64 {
		return 0, fmt.Errorf("size out of range: %q", text)
	}
	return uint64(f), nil
}

func byteUnit(text string) (uint64, bool) {
	if len(text) > 3 {
		return 0, false
	}
	var low [3]byte
	for i := range len(text) {
		low[i] = lower(text[i])
	}
	u, ok := byteUnits[string(low[:len(text)])]
	return u, ok
}

// formatBytes prints a size with its largest decimal unit if one decimal is enough to say it
// exactly, else in bytes.
func formatBytes(n uint64) string {
	exact := strconv.FormatUint(n, 10) + "B"
	unit, div := byte(0), 1.0
	for _, u := range []byte("kMGTPE") {
		if float64(n) < div*1000 {
			break
		}
		unit, div = u, div*1000
	}
	if unit == 0 {
		return exact
	}
	v := math.Floor(float64(n)/div*10+0.5) / 10
	prec := 0
	if v < 10 {
		prec = 1
	}
	short := strconv.FormatFloat(v, 'f', prec, 64) + string(unit) + "B"
	if back, err := ParseBytes(short); err != nil || back != n {
		return exact
	}
	return short
}

// formatFloat prints the shortest form that reads back as the same number.
func formatFloat(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' }

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
