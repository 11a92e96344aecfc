package pipeline

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/column"
)

// Row is one row that has passed all stages. It and all it refers to are valid until the callback
// returns; labels that its methods return are copies and may be kept.
type Row struct {
	Batch *column.Batch
	Run   int // index into Batch.Runs
	Index int // row number in Batch

	Time    int64  // nanoseconds since 1970
	Line    []byte // as the stages left it; nil unless Options.KeepLine
	LineLen int    // its length in bytes
	Value   float64
	Group   int    // see Worker.Group; unset with Options.LazyGroup
	Err     string // value of __error__, empty for none or if the query groups by it

	w *Worker
}

// FindGroup returns the group of the row, which with Options.LazyGroup is not looked up before.
func (r *Row) FindGroup() int { return r.w.groups.of(r.w) }

// Labels returns all labels of the row after the pipeline, as far as somebody needs them.
func (r *Row) Labels() labels.Labels {
	w := r.w
	w.loadRow()
	return w.build(func(*label) bool { return true }, true)
}

// AppendMetadata appends the row's structured metadata.
func (r *Row) AppendMetadata(dst []labels.Label) []labels.Label {
	r.w.loadRow()
	return r.w.appendLabels(dst, fromMetadata)
}

// AppendParsed appends the labels that the stages made, with __error__ and __error_details__.
func (r *Row) AppendParsed(dst []labels.Label) []labels.Label {
	w := r.w
	w.loadRow()
	dst = w.appendLabels(dst, fromParsed)
	if w.err != "" {
		dst = append(dst, labels.Label{Name: labelError, Value: w.err})
	}
	if w.details != "" {
		dst = append(dst, labels.Label{Name: labelErrorDetails, Value: strings.Clone(w.details)})
	}
	return dst
}

func (w *Worker) appendLabels(dst []labels.Label, o origin) []labels.Label {
	for i := range w.labels.list {
		l := &w.labels.list[i]
		if l.gone || l.origin != o || w.hidden(l.name) {
			continue
		}
		dst = append(dst, labels.Label{Name: strings.Clone(l.name), Value: strings.Clone(l.value)})
	}
	return dst
}

// hidden tells that the row's own error takes the place of a label of that name.
func (w *Worker) hidden(name string) bool {
	return name == labelError && w.err != "" || name == labelErrorDetails && w.details != ""
}

// build makes a label set of the row's labels that keep accepts, and of its error.
func (w *Worker) build(keep func(*label) bool, withError bool) labels.Labels {
	order, list := w.order[:0], w.labels.list
	for i := range list {
		if l := &list[i]; !l.gone && keep(l) && !(withError && w.hidden(l.name)) {
			order = append(order, place{sortKey(l.name), int32(i)})
		}
	}
	if withError && w.err != "" {
		order = append(order, place{sortKey(labelError), int32(len(list))})
		list = append(list, label{name: labelError, value: w.err})
	}
	if withError && w.details != "" {
		order = append(order, place{sortKey(labelErrorDetails), int32(len(list))})
		list = append(list, label{name: labelErrorDetails, value: w.details})
	}
	sortPlaces(order, list)
	b := &w.builder
	b.Reset()
	for _, p := range order {
		l := &list[p.index]
		if labelsAreCopies || l.origin == fromStream { // whose labels are not of the batch's memory
			b.Add(l.name, l.value)
		} else {
			b.Add(strings.Clone(l.name), strings.Clone(l.value))
		}
	}
	w.order = order
	return b.Labels()
}

// labelsAreCopies tells that labels.Labels has copies of the strings that it is made of. Build tags decide which
// implementation is used.
const labelsAreCopies = labels.ImplementationName == "stringlabels"

// place says where a label is to be found in a list that is sorted by way of its places.
type place struct {
	key   uint64 // in the order of names, as far as their first eight bytes differ
	index int32
}

func sortKey(name string) uint64 {
	var b [8]byte
	copy(b[:], name)
	return binary.BigEndian.Uint64(b[:])
}

// sortPlaces sorts places by the names of the labels of list. Rows seldom have more than some tens, and those of the stream and
// of the metadata are sorted already, so that inserting one after the other is quickest.
func sortPlaces(places []place, list []label) {
	less := func(a, b place) bool {
		return a.key < b.key || a.key == b.key && list[a.index].name < list[b.index].name
	}
	if len(places) > 64 {
		slices.SortFunc(places, func(a, b place) int {
			if a.key != b.key {
				return cmp.Compare(a.key, b.key)
			}
			return strings.Compare(list[a.index].name, list[b.index].name)
		})
		return
	}
	for i := 1; i < len(places); i++ {
		p, at := places[i], i
		for ; at > 0 && less(p, places[at-1]); at-- {
			places[at] = places[at-1]
		}
		places[at] = p
	}
}
