package distributor

import (
	"bytes"
	"slices"
	"strconv"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/ingester"
	"example.com/loki/internal/push"
)

// level is one of the levels that are told apart.
type level uint8

const (
	noLevel level = iota // nothing known
	levelTrace
	levelDebug
	levelInfo
	levelWarn
	levelError
	levelCritical
	levelFatal
	levelUnknown
	levels
)

func (l level) String() string {
	return [levels]string{"", "trace", "debug", "info", "warn", "error", "critical", "fatal", "unknown"}[l]
}

// parseLevel recognises the spellings of levels, whatever their case.
func parseLevel(v []byte) level {
	if len(v) < 3 || len(v) > len("information") {
		return noLevel
	}
	var low [len("information")]byte
	for i, c := range v {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		low[i] = c
	}
	switch string(low[:len(v)]) {
	case "trace", "trc":
		return levelTrace
	case "debug", "dbg":
		return levelDebug
	case "info", "inf", "information":
		return levelInfo
	case "warn", "wrn", "warning":
		return levelWarn
	case "error", "err":
		return levelError
	case "critical":
		return levelCritical
	case "fatal":
		return levelFatal
	}
	return noLevel
}

// levelFinder finds the level of a log entry: in the labels of its stream, in its metadata, in a field
// of a line of JSON or logfmt, or in the first word of the line that is a level.
type levelFinder struct {
	fields  []string // names that hold a level, the first of them counts first
	clean   []string // the same as label names
	values  [levels][]byte
	lengths uint64    // bit n is set if there is a field of n bytes; bit 63 stands for all longer ones
	first   [256]bool // bytes that begin a field
	longest int
	pairs   [1024]uint8 // see words
}

// newLevelFinder returns a finder that looks into fields.
func newLevelFinder(fields []string) *levelFinder {
	f := &levelFinder{fields: slices.Clone(fields)}
	for _, name := range f.fields {
		f.clean = append(f.clean, push.CleanName(name))
		f.longest = max(f.longest, len(name))
	}
	for _, name := range slices.Concat(f.fields, f.clean) {
		if name != "" {
			f.lengths |= 1 << min(len(name), 63)
			f.first[name[0]] = true
		}
	}
	for l := range levels {
		f.values[l] = []byte(l.String())
	}
	f.pairs = levelPairs()
	return f
}

// rank returns the place of name among the fields, and whether it is one.
func (f *levelFinder) rank(name []byte) (int, bool) {
	if len(name) == 0 || !f.first[name[0]] || f.lengths&(1<<min(len(name), 63)) == 0 {
		return 0, false
	}
	for i, n := range f.fields {
		if n == string(name) {
			return i, true
		}
	}
	return 0, false
}

// fromLabels returns the level that labels hold, or nil. A level that is not known is kept as it is.
func (f *levelFinder) fromLabels(set []labels.Label) []byte {
	best, value := len(f.clean), ""
	for i := range set {
		if l := &set[i]; f.first[l.Name[0]] && f.lengths&(1<<min(len(l.Name), 63)) != 0 {
			if rank := slices.Index(f.clean[:best], l.Name); rank >= 0 {
				best, value = rank, l.Value
			}
		}
	}
	if value == "" {
		return nil
	}
	return f.known([]byte(value))
}

// known returns the usual name of a level, or v if it is none.
func (f *levelFinder) known(v []byte) []byte {
	if l := parseLevel(v); l != noLevel {
		return f.values[l]
	}
	return v
}

// find returns the level of an entry; it is never empty, and must not be changed. fields are clean and
// sorted.
func (f *levelFinder) find(fromLabels []byte, fields []ingester.Field, line []byte) []byte {
	if fromLabels != nil {
		return fromLabels
	}
	if len(fields) > 0 {
		if v := f.fromMetadata(fields); v != nil {
			return v
		}
	}
	return f.values[f.line(line)]
}

// fromMetadata looks for a level in structured metadata: in a field, or in OpenTelemetry's number.
func (f *levelFinder) fromMetadata(fields []ingester.Field) []byte {
	best, number := len(f.clean), -1
	at := -1
	for i := range fields {
		name := fields[i].Name
		if name == "severity_number" {
			number = i
		}
		if !f.first[name[0]] || f.lengths&(1<<min(len(name), 63)) == 0 {
			continue
		}
		for r, n := range f.clean[:best] {
			if n == name {
				best, at = r, i
				break
			}
		}
	}
	if at >= 0 {
		return f.known(fields[at].Value)
	}
	if number >= 0 {
		if n, err := strconv.Atoi(string(fields[number].Value)); err == nil {
			if l := severityLevel(n); l != noLevel {
				return f.values[l]
			}
		}
	}
	return nil
}

// severityLevel is the level of a severity number of OpenTelemetry.
func severityLevel(n int) level {
	switch {
	case n < 1 || n > 24:
		return noLevel
	case n <= 4:
		return levelTrace
	case n <= 8:
		return levelDebug
	case n <= 12:
		return levelInfo
	case n <= 16:
		return levelWarn
	case n <= 20:
		return levelError
	}
	return levelFatal
}

// line returns the level that a line tells, or levelUnknown.
//
// Most lines without a level have no word that could be one, not even as the value of a field, and are
// done after one quick look.
func (f *levelFinder) line(line []byte) level {
	found, start, end := f.word(line, 0)
	if found == noLevel {
		return levelUnknown
	}
	if len(f.fields) > 0 {
		var value []byte
		if i := jsonStart(line); i >= 0 {
			value = f.json(line[i:])
		} else {
			value = f.logfmt(line)
		}
		if l := parseLevel(value); l != noLevel {
			return l
		}
	}
	for found != noLevel && !speaks(end-start, found) {
		found, start, end = f.word(line, end)
	}
	if found == noLevel {
		return levelUnknown
	}
	return found
}

// speaks reports whether a word of n bytes that names a level does so in running text: of the short
// forms only err does, and "information" tells nothing.
func speaks(n int, l level) bool {
	return n != len("information") && (n > 3 || l == levelError)
}

// jsonStart returns where a line begins with an object, or a negative number.
func jsonStart(line []byte) int {
	for i, c := range line {
		switch c {
		case ' ', '\t', '\r', '\n':
		case '{':
			return i
		default:
			return -1
		}
	}
	return -1
}

// jsonDepth is how deep in an object a level is looked for.
const jsonDepth = 2

// json returns the string at the best level field of an object: one further out counts before one
// further in, then the order of fields counts. Broken JSON is read as far as it goes.
func (f *levelFinder) json(b []byte) (value []byte) {
	best := len(f.fields) * jsonDepth
	depth := 0
	var objects uint64 // bit n: the container at depth n is an object
	key := false       // whether a string here is a key
	for i := 0; i < len(b); {
		switch b[i] {
		case '{', '[':
			if depth++; depth > 63 {
				return value
			}
			key = b[i] == '{'
			if objects &^= 1 << depth; key {
				objects |= 1 << depth
			}
			i++
		case '}', ']':
			if depth--; depth <= 0 {
				return value
			}
			key = false
			i++
		case ',':
			key = objects>>depth&1 != 0
			i++
		case '"':
			end := stringEnd(b, i+1)
			if end < 0 {
				return value
			}
			name := b[i+1 : end]
			i = end + 1
			if !key {
				continue
			}
			key = false
			if depth > jsonDepth {
				continue
			}
			rank, ok := f.rank(name)
			if !ok {
				continue
			}
			for i < len(b) && (b[i] == ':' || b[i] == ' ') {
				i++
			}
			if rank += (depth - 1) * len(f.fields); rank >= best || i >= len(b) || b[i] != '"' {
				continue
			}
			if end = stringEnd(b, i+1); end < 0 {
				return value
			}
			best, value = rank, b[i+1:end]
			if rank == 0 {
				return value
			}
			i = end + 1
		default:
			i++
		}
	}
	return value
}

// stringEnd returns the position of the quote that ends a string which starts at i, or -1.
func stringEnd(b []byte, i int) int {
	for start := i; ; {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return -1
		}
		i += n
		odd := false
		for j := i - 1; j >= start && b[j] == '\\'; j-- {
			odd = !odd
		}
		if !odd {
			return i
		}
		i++
	}
}

// logfmt returns the value of the best level field of a line with pairs like level=info. Text that is
// no pair is ignored.
func (f *levelFinder) logfmt(b []byte) (value []byte) {
	best := len(f.fields)
	for i := 0; best > 0; {
		n := bytes.IndexByte(b[i:], '=')
		if n < 0 {
			break
		}
		eq := i + n
		// Go back over the key, but not further than the longest field is long.
		start := eq
		for start > i && b[start-1] > ' ' && eq-start <= f.longest {
			start--
		}
		rank, ok := 0, false
		if start == 0 || b[start-1] <= ' ' {
			rank, ok = f.rank(b[start:eq])
		}
		i = eq + 1
		if i < len(b) && b[i] == '"' {
			end := stringEnd(b, i+1)
			if end < 0 {
				break
			}
			if ok && rank < best {
				best, value = rank, b[i+1:end]
			}
			i = end + 1
			continue
		}
		if ok && rank < best {
			end := i
			for end < len(b) && b[end] > ' ' {
				end++
			}
			best, value = rank, b[i:end]
		}
	}
	return value
}

// Each word is found by the pairs of letters at its start: the first two, or the second and third.
// No pair is both, so looking at every second place is enough.
const (
	pairFirst  = 1 // a word may begin here
	pairSecond = 2 // a word may have begun one byte before
)

// levelPairs is a table of pairs of letters, by the low five bits of both, which are the same for
// capitals. Other characters share them; word is to check.
func levelPairs() (t [1024]uint8) {
	for _, w := range []string{"trace", "trc", "debug", "dbg", "info", "warn", "wrn", "error", "critical", "fatal"} {
		t[pairIndex(w[0], w[1])] = pairFirst
		t[pairIndex(w[1], w[2])] = pairSecond
	}
	return t
}

func pairIndex(a, b byte) uint { return uint(a&31) | uint(b&31)<<5 }

// word returns the first word of the line, from some place on, that parseLevel knows.
func (f *levelFinder) word(line []byte, from int) (l level, start, end int) {
	for i := from; i+1 < len(line); i += 2 {
		pair := f.pairs[pairIndex(line[i], line[i+1])]
		if pair == 0 {
			continue
		}
		if start = i - int(pair-pairFirst); start < from {
			continue
		}
		if l, end = levelWord(line, start); l != noLevel {
			return l, start, end
		}
	}
	return noLevel, 0, 0
}

// levelWord returns the level whose name is the word that begins at start, if one does, and its end.
func levelWord(line []byte, start int) (level, int) {
	if start > 0 && (asciiWord(line[start-1]) || line[start-1] >= utf8.RuneSelf && wordBefore(line[:start])) {
		return noLevel, 0
	}
	end := start
	for end < len(line) && asciiWord(line[end]) {
		if end++; end-start > len("information") {
			return noLevel, 0
		}
	}
	if end < len(line) && line[end] >= utf8.RuneSelf && wordAfter(line[end:]) {
		return noLevel, 0
	}
	return parseLevel(line[start:end]), end
}

// asciiWord reports whether c is part of a word. An underscore is: trace_id says nothing of a level.
func asciiWord(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '_'
}

func wordBefore(b []byte) bool {
	r, _ := utf8.DecodeLastRune(b)
	return unicode.IsLetter(r) || unicode.IsDigit(r)
}

func wordAfter(b []byte) bool {
	r, _ := utf8.DecodeRune(b)
	return unicode.IsLetter(r) || unicode.IsDigit(r)
}
