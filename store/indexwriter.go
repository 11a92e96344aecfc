package store

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/index"
)

// indexWriter makes an index file of Prometheus, format version 2, in memory. Prometheus' own writer
// works on files, with some 25 MB of buffers and several syncs for each: too much for what may be a
// segment of a few lines. What it makes is read by Prometheus' reader.
type indexWriter struct {
	symbols map[string]uint32 // provisional numbers, in the order of first use
	names   []string          // by provisional number
	pairs   []uint32          // names and values of all streams, one after another
	ends    []int             // of each stream's pairs
}

func newIndexWriter() *indexWriter { return &indexWriter{symbols: make(map[string]uint32)} }

func (w *indexWriter) symbol(s string) uint32 {
	if id, ok := w.symbols[s]; ok {
		return id
	}
	s = strings.Clone(s)
	id := uint32(len(w.names))
	w.symbols[s] = id
	w.names = append(w.names, s)
	return id
}

// add appends the next stream.
func (w *indexWriter) add(ls labels.Labels) {
	ls.Range(func(l labels.Label) {
		w.pairs = append(w.pairs, w.symbol(l.Name), w.symbol(l.Value))
	})
	w.ends = append(w.ends, len(w.pairs))
}

const (
	indexSeriesAlign   = 16
	indexPostingsAlign = 4
)

// finish returns the index.
func (w *indexWriter) finish() []byte {
	be := binary.BigEndian
	order := make([]uint32, len(w.names)) // sorted → provisional
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int { return strings.Compare(w.names[a], w.names[b]) })
	final := make([]uint32, len(order)) // provisional → sorted
	for i, p := range order {
		final[p] = uint32(i)
	}

	buf := be.AppendUint32(nil, index.MagicIndex)
	buf = append(buf, index.FormatV2)

	toc := [6]uint64{0: uint64(len(buf))}
	buf = indexPart(buf, func(buf []byte) []byte {
		buf = be.AppendUint32(buf, uint32(len(order)))
		for _, p := range order {
			buf = appendString(buf, w.names[p])
		}
		return buf
	})

	toc[1] = uint64(len(buf))
	postings := make(map[uint64][]uint32)
	all := make([]uint32, 0, len(w.ends))
	at := 0
	var series []byte
	for n, end := range w.ends {
		series = binary.AppendUvarint(series[:0], uint64((end-at)/2))
		buf = pad(buf, indexSeriesAlign)
		ref := uint32(len(buf) / indexSeriesAlign)
		all = append(all, ref)
		for ; at < end; at += 2 {
			name, value := final[w.pairs[at]], final[w.pairs[at+1]]
			series = binary.AppendUvarint(series, uint64(name))
			series = binary.AppendUvarint(series, uint64(value))
			key := uint64(name)<<32 | uint64(value)
			postings[key] = append(postings[key], ref)
		}
		series = append(series, 1, 0, 0) // one chunk with times 0
		series = binary.AppendUvarint(series, uint64(n))
		buf = binary.AppendUvarint(buf, uint64(len(series)))
		buf = append(buf, series...)
		buf = be.AppendUint32(buf, crc32.Checksum(series, castagnoli))
	}

	toc[2], toc[3] = uint64(len(buf)), 0 // no label indices: the format has given them up
	keys := make([]uint64, 0, len(postings))
	for k := range postings {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	buf = pad(buf, indexPostingsAlign)
	toc[2], toc[3], toc[4] = uint64(len(buf)), uint64(len(buf)), uint64(len(buf))
	offsets := make([]uint64, 0, len(keys)+1)
	list := func(refs []uint32) {
		buf = pad(buf, indexPostingsAlign)
		offsets = append(offsets, uint64(len(buf)))
		buf = indexPart(buf, func(buf []byte) []byte {
			buf = be.AppendUint32(buf, uint32(len(refs)))
			for _, r := range refs {
				buf = be.AppendUint32(buf, r)
			}
			return buf
		})
	}
	list(all)
	for _, k := range keys {
		list(postings[k])
	}

	toc[5] = uint64(len(buf))
	buf = indexPart(buf, func(buf []byte) []byte {
		buf = be.AppendUint32(buf, uint32(len(offsets)))
		for i, off := range offsets {
			var name, value string
			if i > 0 {
				name, value = w.names[order[keys[i-1]>>32]], w.names[order[uint32(keys[i-1])]]
			}
			buf = append(buf, 2)
			buf = appendString(buf, name)
			buf = appendString(buf, value)
			buf = binary.AppendUvarint(buf, off)
		}
		return buf
	})

	start := len(buf)
	for _, off := range toc {
		buf = be.AppendUint64(buf, off)
	}
	return be.AppendUint32(buf, crc32.Checksum(buf[start:], castagnoli))
}

// eachIndexSum calls f with the parts of an index of which there may be very many, series and postings
// lists, each with its checksum behind it: data[:n] and data[n:].
func eachIndexSum(raw []byte, f func(data []byte, n int)) error {
	const toc = 6*8 + crcSize
	if len(raw) < toc {
		return errShort
	}
	at := func(i int) uint64 { return binary.BigEndian.Uint64(raw[len(raw)-toc+8*i:]) }
	series, end, postings, table := at(1), at(2), at(4), at(5)
	if series > end || end > postings || postings > table || table > uint64(len(raw)-toc) {
		return errors.New("sections of the index are out of order")
	}
	part := func(b []byte, head, n uint64) (int, error) {
		if head == 0 || n > uint64(len(b)) || head+n+crcSize > uint64(len(b)) {
			return 0, errShort
		}
		f(b[head:head+n+crcSize], int(n))
		return int(head + n + crcSize), nil
	}
	for pos := roundUp(series, indexSeriesAlign); pos < end; pos = roundUp(pos, indexSeriesAlign) {
		n, head := binary.Uvarint(raw[pos:end])
		used, err := part(raw[pos:end], uint64(max(head, 0)), n)
		if err != nil {
			return err
		}
		pos += uint64(used)
	}
	for pos := roundUp(postings, indexPostingsAlign); pos < table; pos = roundUp(pos, indexPostingsAlign) {
		if table-pos < 4 {
			return errShort
		}
		used, err := part(raw[pos:table], 4, uint64(binary.BigEndian.Uint32(raw[pos:])))
		if err != nil {
			return err
		}
		pos += uint64(used)
	}
	return nil
}

// dropIndexSums sets checksums to zero. The block that the index is in has one of its own, and those
// of many streams are much of what an index takes.
func dropIndexSums(raw []byte) error {
	return eachIndexSum(raw, func(data []byte, n int) { clear(data[n:]) })
}

// restoreIndexSums undoes dropIndexSums.
func restoreIndexSums(raw []byte) error {
	return eachIndexSum(raw, func(data []byte, n int) {
		binary.BigEndian.PutUint32(data[n:], crc32.Checksum(data[:n], castagnoli))
	})
}

func roundUp(n, to uint64) uint64 { return (n + to - 1) / to * to }

// indexPart appends length, content and checksum.
func indexPart(buf []byte, content func([]byte) []byte) []byte {
	start := len(buf)
	buf = content(append(buf, 0, 0, 0, 0))
	body := buf[start+4:]
	binary.BigEndian.PutUint32(buf[start:], uint32(len(body)))
	return binary.BigEndian.AppendUint32(buf, crc32.Checksum(body, castagnoli))
}

func pad(buf []byte, to int) []byte {
	for len(buf)%to != 0 {
		buf = append(buf, 0)
	}
	return buf
}
