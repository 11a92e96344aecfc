package ingester

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
)

// inLabelOrder returns the streams in the order of their labels.
//
// To compare label sets costs a look at two places in memory, twenty times a stream where there are a
// million. So each set is written out once as bytes that compare like it, and eight of them at a time are
// sorted as a number.
func inLabelOrder(streams []*stream) []*stream {
	o := labelOrder{items: make([]orderItem, len(streams))}
	size := 0
	for _, s := range streams {
		size += int(s.Labels.ByteSize()) + 2*s.Labels.Len() + 16
	}
	o.keys = make([]byte, 0, size)
	for n, s := range streams {
		o.items[n] = orderItem{key: len(o.keys), stream: s}
		o.keys = appendOrderKey(o.keys, s.Labels)
	}
	o.sort(o.items, 0)
	out := make([]*stream, len(streams))
	for n := range o.items {
		out[n] = o.items[n].stream
	}
	return out
}

type labelOrder struct {
	keys  []byte
	items []orderItem
}

type orderItem struct {
	chunk  uint64 // the eight bytes of the key that are compared just now
	key    int    // where the key begins
	stream *stream
}

// keyEnd follows each key: no two keys are the same up to there.
const keyEnd = 16

// appendOrderKey appends a key. Keys compare like labels.Compare: name, value, name, value and so on as
// strings, and a set before the longer ones that begin with it. A string ends with two zeros, which
// come before everything else, so a zero in it is followed by 255.
func appendOrderKey(dst []byte, ls labels.Labels) []byte {
	ls.Range(func(l labels.Label) {
		for _, s := range [2]string{l.Name, l.Value} {
			from := len(dst)
			dst = append(dst, s...)
			if i := bytes.IndexByte(dst[from:], 0); i >= 0 {
				dst = dst[:from+i]
				for _, c := range []byte(s[i:]) {
					if dst = append(dst, c); c == 0 {
						dst = append(dst, 255)
					}
				}
			}
			dst = append(dst, 0, 0)
		}
	})
	return append(dst, make([]byte, keyEnd)...)
}

// sort sorts items whose keys agree in the first depth bytes.
func (o *labelOrder) sort(items []orderItem, depth int) {
	for n := range items {
		items[n].chunk = binary.BigEndian.Uint64(o.keys[items[n].key+depth:])
	}
	slices.SortFunc(items, func(a, b orderItem) int { return cmp.Compare(a.chunk, b.chunk) })
	for from := 0; from < len(items); {
		to := from + 1
		for to < len(items) && items[to].chunk == items[from].chunk {
			to++
		}
		// A chunk of zeros is behind the end: those are the same set, which does not happen.
		if to-from > 1 && items[from].chunk != 0 {
			o.sort(items[from:to], depth+8)
		}
		from = to
	}
}
