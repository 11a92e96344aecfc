package store

import (
	"slices"

	"github.com/prometheus/prometheus/model/labels"
)

func sortStreams(all []*StreamRows) {
	slices.SortFunc(all, func(a, b *StreamRows) int { return labels.Compare(a.Labels, b.Labels) })
}

func yieldAll(all []*StreamRows) Rows {
	return func(yield func(*StreamRows, error) bool) {
		for _, s := range all {
			if !yield(s, nil) {
				return
			}
		}
	}
}
