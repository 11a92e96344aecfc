package config

import (
	_ "embed"
	"strings"
)

// Every YAML key of Loki 3.7, one a line; * at its end marks one that may hold more below it.
//
//go:embed keys.txt
var keysText string

// Every flag of Loki 3.7, one a line; ! at its end marks one that needs no value.
//
//go:embed flags.txt
var flagsText string

// known are names with what their mark says.
type known map[string]bool

func parseNames(text, mark string) known {
	k := known{}
	for l := range strings.Lines(text) {
		name, marked := strings.CutSuffix(strings.TrimSpace(l), mark)
		if name != "" {
			k[name] = marked
		}
	}
	return k
}

// nearest returns the name that was probably meant, or "". The same last part in another block comes
// first: a limit that lies beside limits_config is the most frequent mistake.
func nearest(name string, names []string) string {
	block, last := split(name)
	best, bestBy := "", 1+max(2, len(last)/3)
	for _, n := range names {
		b, l := split(n)
		by := distance(l, last, bestBy+1)
		if b != block {
			by++
		}
		if by < bestBy || by == bestBy && best != "" && len(n) < len(best) {
			best, bestBy = n, by
		}
	}
	return best
}

func split(name string) (block, last string) {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}

// distance is how many letters must change to turn a into b; anything from bound on is bound.
func distance(a, b string, bound int) int {
	if len(a)-len(b) >= bound || len(b)-len(a) >= bound {
		return bound
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal, least := row[0], i+1
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
			least = min(least, cost)
		}
		if least >= bound {
			return bound
		}
	}
	return min(row[len(b)], bound)
}
