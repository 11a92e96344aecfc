package pipeline

import (
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
	b := &w.builder
	b.Reset()
	for i := range w.labels.list {
		l := &w.labels.list[i]
		switch {
		case l.gone || !keep(l) || withError && w.hidden(l.name):
		case l.origin == fromStream: // not of the batch's memory
			b.Add(l.name, l.value)
		default:
			b.Add(strings.Clone(l.name), strings.Clone(l.value))
		}
	}
	if withError && w.err != "" {
		b.Add(labelError, w.err)
	}
	if withError && w.details != "" {
		b.Add(labelErrorDetails, strings.Clone(w.details))
	}
	b.Sort()
	return b.Labels()
}
