// Package bytesearch finds a string in large texts, and classes of characters.
//
// bytes.Index looks for the first byte of the string, or compares at each place, so it is slow where that
// byte is common: a search for "error" meets an e every few bytes. Here the two bytes of the string that
// are rarest in log lines are looked for at once, 32 places at a time where the machine has vector
// instructions that Go lets us use without asking (SSE2 on amd64); elsewhere bytes.Index does the work.
// Build with the tag purego to do without assembly.
package bytesearch

import "bytes"

// Finder searches for one string. It is immutable.
type Finder struct {
	text []byte
	i, j int // places of two bytes of text, i < j; both 0 if text is shorter
}

// New returns a finder of text, which must not be changed any more.
func New(text []byte) Finder {
	f := Finder{text: text}
	if len(text) < 2 {
		return f
	}
	best := -1
	for at, b := range text {
		if best < 0 || commonness[b] < commonness[text[best]] {
			best = at
		}
	}
	second := -1
	for at, b := range text {
		if at != best && (second < 0 || commonness[b] < commonness[text[second]]) {
			second = at
		}
	}
	f.i, f.j = min(best, second), max(best, second)
	return f
}

// Text returns the string.
func (f *Finder) Text() []byte { return f.text }

// Index returns the first place of the string in data, or -1.
func (f *Finder) Index(data []byte) int {
	if f.j == 0 || !vectors {
		return bytes.Index(data, f.text)
	}
	a, b := f.text[f.i], f.text[f.j]
	places := len(data) - len(f.text) + 1
	for at := 0; at < places; at++ {
		blocks := (places - at) / blockSize
		if blocks == 0 {
			if n := bytes.Index(data[at:], f.text); n >= 0 {
				return at + n
			}
			return -1
		}
		n := pairIndex(data[at+f.i:], blocks, f.j-f.i, a, b)
		if n < 0 {
			at += blocks*blockSize - 1
			continue
		}
		at += n
		if string(data[at:at+len(f.text)]) == string(f.text) {
			return at
		}
	}
	return -1
}

// blockSize is the number of places that pairIndex looks at together.
const blockSize = 32

// plainPairIndex returns the first i below blocks*blockSize for which data[i] is a and data[i+off] is b, or -1. Data must have
// blocks*blockSize+off bytes.
func plainPairIndex(data []byte, blocks, off int, a, b byte) int {
	for i := range blocks * blockSize {
		if data[i] == a && data[i+off] == b {
			return i
		}
	}
	return -1
}

// byCommonness lists bytes from those that are common in logs to rarer ones; what is not in it is rarer
// still.
const byCommonness = ` e0t1a2nio:sr"-/.,=35d4678l9cmpug_hbfv[]{}()y';TkwxPISEAOCN+RqDLjzMGUHBFXVWKYQZJ|<>@#&?%*$!\`

// commonness is larger the more common a byte is; 0 for those that are not listed.
var commonness = func() (c [256]uint8) {
	for i := range len(byCommonness) {
		c[byCommonness[i]] = uint8(len(byCommonness) - i)
	}
	return c
}()
