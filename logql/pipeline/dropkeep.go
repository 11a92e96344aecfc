package pipeline

import "example.com/loki/logql/syntax"

// dropStage is "| drop".
type dropStage struct{ selectors []syntax.LabelSelector }

func (s *dropStage) prepare(n *needs) {
	for _, sel := range s.selectors {
		if sel.Matcher != nil {
			n.add(sel.Name)
		}
	}
}

func (s *dropStage) runner(*Worker) runner { return s }

func (s *dropStage) run(w *Worker) bool {
	for _, sel := range s.selectors {
		switch sel.Name {
		case labelError:
			if sel.Matcher == nil || sel.Matcher.Matches(w.err) {
				w.err = ""
			}
		case labelErrorDetails:
			if sel.Matcher == nil || sel.Matcher.Matches(w.details) {
				w.details = ""
			}
		}
		if i := w.labels.find(sel.Name); i >= 0 && (sel.Matcher == nil || sel.Matcher.Matches(w.labels.list[i].value)) {
			w.labels.remove(i)
		}
	}
	return true
}

// keepStage is "| keep".
type keepStage struct {
	selectors map[string][]syntax.LabelSelector
}

func newKeepStage(s *syntax.KeepStage) prepared {
	k := &keepStage{selectors: map[string][]syntax.LabelSelector{}}
	for _, sel := range s.Labels {
		k.selectors[sel.Name] = append(k.selectors[sel.Name], sel)
	}
	return k
}

func (s *keepStage) prepare(n *needs) {
	for name, sels := range s.selectors {
		for _, sel := range sels {
			if sel.Matcher != nil {
				n.add(name)
			}
		}
	}
}

func (s *keepStage) runner(*Worker) runner { return s }

// run removes all labels that are not named; errors stay.
func (s *keepStage) run(w *Worker) bool {
	for i := range w.labels.list {
		l := &w.labels.list[i]
		if !l.gone && !isErrorLabel(l.name) && !s.keeps(l) {
			w.labels.remove(i)
		}
	}
	return true
}

func (s *keepStage) keeps(l *label) bool {
	for _, sel := range s.selectors[l.name] {
		if sel.Matcher == nil || sel.Matcher.Matches(l.value) {
			return true
		}
	}
	return false
}
