// Package detect finds out what a user could ask next: which labels streams have, and which fields there
// are in the lines that a log query has found.
//
// Its functions look at answers that somebody else has fetched and do no I/O.
package detect

import (
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
)

// Label is a stream label and how many values it has.
type Label struct {
	Name        string
	Cardinality int
}

// Labels returns the labels that are of use to choose among streams, ordered by name: all but those that
// have only numbers and UUIDs for values, which say nothing to a reader. cluster, namespace, instance and
// pod stay whatever their values are.
func Labels(streams []labels.Labels) []Label {
	type seen struct {
		values map[string]struct{}
		useful bool
	}
	byName := map[string]*seen{}
	for _, ls := range streams {
		ls.Range(func(l labels.Label) {
			s := byName[l.Name]
			if s == nil {
				s = &seen{values: map[string]struct{}{}, useful: alwaysUseful(l.Name)}
				byName[l.Name] = s
			}
			if _, ok := s.values[l.Value]; !ok {
				s.values[l.Value] = struct{}{}
				s.useful = s.useful || !isID(l.Value)
			}
		})
	}
	var found []Label
	for name, s := range byName {
		if s.useful {
			found = append(found, Label{Name: name, Cardinality: len(s.values)})
		}
	}
	slices.SortFunc(found, func(a, b Label) int { return strings.Compare(a.Name, b.Name) })
	return found
}

func alwaysUseful(name string) bool {
	switch name {
	case "cluster", "namespace", "instance", "pod":
		return true
	}
	return false
}

// isID tells whether a value is a number or a UUID.
func isID(v string) bool {
	_, err := strconv.ParseFloat(v, 64)
	return err == nil || isUUID(v)
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if !(c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f') {
				return false
			}
		}
	}
	return true
}
