package pipeline

import (
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/column"
	"example.com/loki/logql/syntax"
)

// Hints returns what each row that passes must hold, for SelectRequest.Contains and Metadata:
// needles of the line filters that stand before any stage that changes the line, literals of
// regular expressions and patterns, and string equality of label filters that stand before any stage
// that makes labels.
func (p *Pipeline) Hints() (contains []column.Needle, metadata []*labels.Matcher) {
	return slices.Clone(p.contains), slices.Clone(p.metadata)
}

func (p *Pipeline) addLineFilter(m *lineMatcher) {
	p.lines = append(p.lines, m)
	if m.negated || len(m.tests) != 1 {
		return
	}
	for _, n := range m.tests[0].all {
		p.contains = append(p.contains, column.Needle{Text: string(n.text), FoldCase: n.fold})
	}
}

// addMetadataHint adds a label filter that stands among the first stages. One for an empty value
// wants rows that may lack the column; a name that may come from a clash is stored under another.
func (p *Pipeline) addMetadataHint(f syntax.LabelFilter) {
	m, ok := f.(*syntax.MatchFilter)
	if !ok || m.Matcher.Type != labels.MatchEqual || m.Matcher.Value == "" {
		return
	}
	if len(m.Matcher.Name) > len(clashSuffix) && hasClashSuffix(m.Matcher.Name) {
		return
	}
	p.metadata = append(p.metadata, m.Matcher)
}

func hasClashSuffix(name string) bool {
	return len(name) > len(clashSuffix) && name[len(name)-len(clashSuffix):] == clashSuffix
}
