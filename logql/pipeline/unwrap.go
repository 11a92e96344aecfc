package pipeline

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"example.com/loki/logql/syntax"
)

const errSampleExtraction = "SampleExtractionErr"

// unwrap takes the value of the row from a label, which it removes, and applies the filters that
// follow. It returns false to drop the row.
func (w *Worker) unwrap() bool {
	u := w.p.opts.Unwrap
	i := w.labels.find(u.Label)
	if i < 0 {
		return false
	}
	v, err := convert(u.Convert, w.labels.list[i].value)
	if err != nil {
		w.setError(errSampleExtraction, err.Error(), false)
	}
	w.value = v
	for _, f := range w.p.post {
		if !f.matches(w) {
			return false
		}
	}
	w.labels.remove(i)
	return true
}

func convert(c syntax.UnwrapFunc, s string) (float64, error) {
	switch c {
	case syntax.UnwrapBytes:
		n, err := parseBytes(s)
		return float64(n), err
	case syntax.UnwrapDuration, syntax.UnwrapDurationSeconds:
		d, err := time.ParseDuration(s)
		return d.Seconds(), err
	}
	return strconv.ParseFloat(s, 64)
}

// parseBytes converts a size such as "5 MB", "1.5KiB" or "512".
func parseBytes(s string) (uint64, error) {
	n := 0
	for n < len(s) && (isDigit(s[n]) || s[n] == '.') {
		n++
	}
	unit := strings.TrimSpace(s[n:])
	if n == 0 || len(unit) > 3 || strings.HasPrefix(unit, ",") {
		return humanize.ParseBytes(s)
	}
	size := unitSize(unit)
	if size == 0 {
		return humanize.ParseBytes(s)
	}
	f, err := strconv.ParseFloat(s[:n], 64)
	if err != nil {
		return 0, err
	}
	if f *= size; f >= math.MaxUint64 {
		return humanize.ParseBytes(s)
	}
	return uint64(f), nil
}

// unitSize returns the number of bytes of a unit, 0 if it isn't a usual one.
func unitSize(unit string) float64 {
	switch unit {
	case "", "B", "b":
		return 1
	case "KB", "kB", "kb", "K", "k":
		return 1e3
	case "MB", "mb", "M", "m":
		return 1e6
	case "GB", "gb", "G", "g":
		return 1e9
	case "TB", "tb", "T", "t":
		return 1e12
	case "KiB", "kib", "Ki", "ki":
		return 1 << 10
	case "MiB", "mib", "Mi", "mi":
		return 1 << 20
	case "GiB", "gib", "Gi", "gi":
		return 1 << 30
	case "TiB", "tib", "Ti", "ti":
		return 1 << 40
	}
	return 0
}
