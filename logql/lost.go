package logql

import "github.com/prometheus/prometheus/model/labels"

// Lost is an entry that the reader of a live query did not get because it was too slow.
type Lost struct {
	Labels labels.Labels // of its stream
	Time   int64         // nanoseconds since 1970
}
