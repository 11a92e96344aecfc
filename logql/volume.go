package logql

import "github.com/prometheus/prometheus/model/labels"

// StreamVolume says how much of a stream lies in some place and time range. Where only the index was
// asked, a part of a stream that reaches beyond the range counts in proportion to the time it shares
// with it.
type StreamVolume struct {
	Labels  labels.Labels
	Entries int64
	Bytes   int64 // of lines and structured metadata
	Chunks  int64 // parts that hold some of it
}
