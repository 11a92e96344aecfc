package logql

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
)

// StreamVolume says how much of a stream lies in some place and time range. Where only the index was
// asked, a part of a stream that reaches beyond the range counts in proportion to the time it shares
// with it.
type StreamVolume struct {
	Labels  labels.Labels
	Entries int64
	Bytes   int64 // of lines and structured metadata
	Chunks  int64 // parts that hold some of it

	// Writers are the names of those who have taken these entries in, ascending, without repetition; none
	// where there is only one. Others may have copies of the same entries: see MergeVolumes. The slice must
	// not be changed.
	Writers []string

	// Streams are the hashes (labels.StableHash) of the streams of which this is the volume, in no order and perhaps with
	// repetitions, where those of all streams are asked for as one: see GroupVolumes and CountStreams. Else nil.
	Streams []uint64
}

// AddVolumes sorts volumes by their labels and adds up those of the same stream from the same writers. It
// reuses vs.
func AddVolumes(vs []StreamVolume) []StreamVolume {
	order := func(a, b StreamVolume) int {
		if c := labels.Compare(a.Labels, b.Labels); c != 0 {
			return c
		}
		return slices.Compare(a.Writers, b.Writers)
	}
	if !slices.IsSortedFunc(vs, order) {
		slices.SortFunc(vs, order)
	}
	out := vs[:0]
	for _, v := range vs {
		if n := len(out) - 1; n >= 0 && slices.Equal(out[n].Writers, v.Writers) && labels.Equal(out[n].Labels, v.Labels) {
			out[n].Entries += v.Entries
			out[n].Bytes += v.Bytes
			out[n].Chunks += v.Chunks
			out[n].Streams = append(out[n].Streams, v.Streams...)
			continue
		}
		out = append(out, v)
	}
	return out
}

// GroupVolumes adds up the volumes of streams that agree in the labels of these names, as AddVolumes does; those that they have
// of them are the labels of what it returns. By no names, it is one volume of all, which says of which streams. It may reuse vs.
func GroupVolumes(vs []StreamVolume, by []string) []StreamVolume {
	if len(by) == 0 {
		hashes := make([]uint64, len(vs))
		for i := range vs {
			if vs[i].Streams == nil {
				hashes[i] = labels.StableHash(vs[i].Labels)
				vs[i].Streams = hashes[i : i+1 : i+1]
			}
		}
	}
	var key []byte
	known := map[string]labels.Labels{}
	for i := range vs {
		key = key[:0]
		for _, name := range by {
			// Values may hold any byte, so their lengths keep them apart.
			value := vs[i].Labels.Get(name)
			key = append(binary.AppendUvarint(key, uint64(len(value))), value...)
		}
		ls, ok := known[string(key)]
		if !ok {
			ls = vs[i].Labels.MatchLabels(true, by...)
			known[string(key)] = ls
		}
		vs[i].Labels = ls
	}
	return AddVolumes(vs)
}

// MergeVolumes makes one volume for each stream of those that lie in different places, where each entry was
// taken in by as many writers as the replication factor says. Volumes of different writers may thus be
// copies. It returns the most that one writer has, or the sum of all divided by the factor, whichever is
// more: that is exact while each entry has all of its copies, on whichever writers, or while one writer has
// taken in everything; and too low by less than what the copies lack otherwise. A volume of several writers,
// in which copies count once already, stands for as many copies. It sorts by labels and reuses vs.
func MergeVolumes(vs []StreamVolume, factor int) []StreamVolume {
	vs = AddVolumes(vs)
	out := vs[:0]
	for from := 0; from < len(vs); {
		to := from + 1
		for to < len(vs) && labels.Equal(vs[from].Labels, vs[to].Labels) {
			to++
		}
		merged := mergeCopies(vs[from:to], int64(max(factor, 1)))
		from = to
		out = append(out, merged)
	}
	return out
}

// mergeCopies makes one volume of those of one stream.
func mergeCopies(vs []StreamVolume, factor int64) StreamVolume {
	merged := StreamVolume{Labels: vs[0].Labels, Entries: vs[0].Entries, Bytes: vs[0].Bytes, Chunks: vs[0].Chunks}
	if len(vs) == 1 {
		merged.Streams = vs[0].Streams
		return merged
	}
	var writers []string
	for _, v := range vs {
		merged.Streams = append(merged.Streams, v.Streams...)
		writers = append(writers, v.Writers...)
	}
	slices.Sort(writers)
	writers = slices.Compact(writers)
	pick := func(of func(*StreamVolume) int64) int64 {
		var most, sum int64
		for i := range vs {
			sum += of(&vs[i]) * min(factor, int64(max(1, len(vs[i].Writers))))
		}
		for _, w := range writers {
			var has int64
			for i := range vs {
				if slices.Contains(vs[i].Writers, w) {
					has += of(&vs[i])
				}
			}
			most = max(most, has)
		}
		return max(most, (sum+factor/2)/factor)
	}
	merged.Entries = pick(func(v *StreamVolume) int64 { return v.Entries })
	merged.Bytes = pick(func(v *StreamVolume) int64 { return v.Bytes })
	merged.Chunks = pick(func(v *StreamVolume) int64 { return v.Chunks })
	return merged
}

// CountStreams returns how many streams these volumes are of, which Streams names.
func CountStreams(vs []StreamVolume) int64 {
	all := 0
	for i := range vs {
		all += len(vs[i].Streams)
	}
	// An open table, half full at most. Hashes are spread evenly already; 0 has no place in it.
	table := make([]uint64, 2<<bits.Len(uint(all)))
	mask := uint64(len(table) - 1)
	n, zero := int64(0), int64(0)
	for i := range vs {
		for _, h := range vs[i].Streams {
			if h == 0 {
				zero = 1
				continue
			}
			at := h & mask
			for table[at] != 0 && table[at] != h {
				at = (at + 1) & mask
			}
			if table[at] == 0 {
				table[at] = h
				n++
			}
		}
	}
	return n + zero
}
