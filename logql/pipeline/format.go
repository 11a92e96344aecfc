package pipeline

import (
	"fmt"

	"example.com/loki/logql/syntax"
)

const errTemplateFormat = "TemplateFormatErr"

// lineFormatStage is "| line_format".
type lineFormatStage struct{ tmpl *lineTemplate }

func newLineFormatStage(s *syntax.LineFormatStage) (prepared, error) {
	t, err := parseTemplate("line", s.Template)
	if err != nil {
		return nil, fmt.Errorf("invalid line template: %w", err)
	}
	return &lineFormatStage{t}, nil
}

func (s *lineFormatStage) prepare(n *needs) {
	n.length = false
	n.line = s.tmpl.line || s.tmpl.slow // the line stays if the template fails
	s.tmpl.prepare(n)
}

func (s *lineFormatStage) runner(w *Worker) runner {
	return &lineFormatRunner{tmpl: s.tmpl.bind(w)}
}

type lineFormatRunner struct {
	tmpl *boundTemplate
	buf  []byte
}

func (r *lineFormatRunner) run(w *Worker) bool {
	out, err := r.tmpl.append(r.buf[:0], w, true)
	if err != nil {
		w.setError(errTemplateFormat, err.Error(), false)
		return true
	}
	r.buf, w.line = out, out
	return true
}

// labelFormatStage is "| label_format".
type labelFormatStage struct {
	formats   []syntax.LabelFormat
	templates []*lineTemplate // nil where a label is renamed
}

func newLabelFormatStage(s *syntax.LabelFormatStage) (prepared, error) {
	st := &labelFormatStage{formats: s.Formats}
	seen := map[string]bool{}
	for _, f := range s.Formats {
		if f.Name == labelError {
			return nil, fmt.Errorf("%s cannot be formatted", f.Name)
		}
		if seen[f.Name] {
			return nil, fmt.Errorf("multiple label name '%s' not allowed in a single format operation", f.Name)
		}
		seen[f.Name] = true
		if f.Rename != "" {
			st.templates = append(st.templates, nil)
			continue
		}
		t, err := parseTemplate("label", f.Template)
		if err != nil {
			return nil, fmt.Errorf("invalid template for label '%s': %w", f.Name, err)
		}
		st.templates = append(st.templates, t)
	}
	return st, nil
}

func (s *labelFormatStage) prepare(n *needs) {
	for i, f := range s.formats {
		if t := s.templates[i]; t != nil {
			n.line = n.line || t.line
			t.prepare(n)
		} else {
			n.add(f.Rename)
		}
	}
}

func (s *labelFormatStage) runner(w *Worker) runner {
	r := &labelFormatRunner{formats: s.formats}
	for _, t := range s.templates {
		var b *boundTemplate
		if t != nil {
			b = t.bind(w)
		}
		r.templates = append(r.templates, b)
	}
	return r
}

type labelFormatRunner struct {
	formats   []syntax.LabelFormat
	templates []*boundTemplate
}

func (r *labelFormatRunner) run(w *Worker) bool {
	w.parsed = true
	for i := range r.formats {
		f := &r.formats[i]
		t := r.templates[i]
		if t == nil {
			rename(w, f.Name, f.Rename)
			continue
		}
		start := len(w.arena)
		out, err := t.append(w.arena, w, false)
		if err != nil {
			w.setError(errTemplateFormat, err.Error(), false)
			continue
		}
		w.arena = out
		w.labels.set(f.Name, text(out[start:]), fromParsed)
	}
	return true
}

// rename gives a label another name, which a label of that name makes way for. It stays what it is:
// a label of the stream, structured metadata or parsed.
func rename(w *Worker, to, from string) {
	i := w.labels.find(from)
	if i < 0 || to == from {
		return
	}
	l := w.labels.list[i]
	w.labels.remove(i)
	w.labels.set(to, l.value, l.origin)
}
