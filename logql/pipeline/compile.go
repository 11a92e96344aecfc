package pipeline

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"example.com/loki/logql/syntax"
)

// fail makes an error about a stage. It is a *syntax.ParseError that wraps nothing: what went wrong
// is the text of the query.
func fail(pos syntax.Pos, format string, args ...any) error {
	return &syntax.ParseError{Pos: pos, Msg: fmt.Sprintf(format, args...)}
}

// failStage makes an error about a stage that names it.
func failStage(s syntax.Stage, err error) error {
	var parse *syntax.ParseError
	if errors.As(err, &parse) {
		return err
	}
	return fail(s.Position(), "stage '%s': %v", s, err)
}

// prepared is a stage that takes part in the analysis of needs, which walks backwards: n is what the
// stages behind need, and the stage adds what it reads.
type prepared interface {
	stage
	prepare(n *needs)
}

func (p *Pipeline) compile(stages []syntax.Stage) error {
	var rest []prepared
	stored := true  // stages so far left the line alone
	leading := true // only filters so far
	for _, s := range stages {
		if f, ok := s.(*syntax.LineFilter); ok {
			m, err := newLineMatcher(f)
			if err != nil {
				return failStage(s, err)
			}
			if stored {
				p.addLineFilter(m)
			} else {
				rest = append(rest, lineFilterStage{m})
			}
			continue
		}
		if f, ok := s.(*syntax.LabelFilterStage); ok {
			for _, part := range conjuncts(f.Filter, nil) {
				if m := newMatchFilter(part); leading && m != nil {
					p.pure = append(p.pure, m)
					p.addMetadataHint(part)
					continue
				}
				lf, err := newLabelFilter(part)
				if err != nil {
					return failStage(s, err)
				}
				rest = append(rest, labelFilterStage{lf})
			}
			continue
		}
		leading = false
		c, err := p.compileStage(s)
		if err != nil {
			return failStage(s, err)
		}
		switch s.(type) {
		case *syntax.UnpackStage, *syntax.LineFormatStage, *syntax.DecolorizeStage:
			stored = false
		}
		rest = append(rest, c)
	}
	// The order of line filters doesn't matter to the outcome: the ones that search go first.
	slices.SortStableFunc(p.lines, func(a, b *lineMatcher) int { return cmp.Compare(a.cost(), b.cost()) })
	return p.analyse(rest)
}

func (p *Pipeline) compileStage(s syntax.Stage) (prepared, error) {
	switch s := s.(type) {
	case *syntax.JSONStage:
		if len(s.Fields) > 0 {
			return newJSONPathStage(s)
		}
		return &jsonStage{}, nil
	case *syntax.LogfmtStage:
		return newLogfmtStage(s)
	case *syntax.PatternStage:
		return newPatternStage(s)
	case *syntax.RegexpStage:
		return newRegexpStage(s)
	case *syntax.UnpackStage:
		return &unpackStage{}, nil
	case *syntax.DecolorizeStage:
		return decolorizeStage{}, nil
	case *syntax.LineFormatStage:
		return newLineFormatStage(s)
	case *syntax.LabelFormatStage:
		return newLabelFormatStage(s)
	case *syntax.DropStage:
		return &dropStage{selectors: s.Labels}, nil
	case *syntax.KeepStage:
		return newKeepStage(s), nil
	}
	return nil, fmt.Errorf("stage of unknown type %T", s)
}

// conjuncts appends the parts of f that are joined by and.
func conjuncts(f syntax.LabelFilter, dst []syntax.LabelFilter) []syntax.LabelFilter {
	if a, ok := f.(*syntax.AndFilter); ok {
		return conjuncts(a.Right, conjuncts(a.Left, dst))
	}
	return append(dst, f)
}

// analyse finds out, from the consumer backwards, what each stage must deliver, and leaves out stages
// whose work nobody looks at.
func (p *Pipeline) analyse(stages []prepared) error {
	n := newNeeds()
	o := &p.opts
	n.all = o.Group.Without || o.Categorize
	for _, name := range o.Group.Names {
		if !o.Group.Without {
			n.group(name)
		}
	}
	n.line, n.length = o.KeepLine, !o.SkipLength
	if u := o.Unwrap; u != nil {
		n.add(u.Label)
		for _, f := range u.Filters {
			lf, err := newLabelFilter(f)
			if err != nil {
				return fail(f.Position(), "filter '%s': %v", f, err)
			}
			lf.prepare(n)
			p.post = append(p.post, lf)
		}
	}
	keep := make([]stage, 0, len(stages))
	for i := len(stages) - 1; i >= 0; i-- {
		s := stages[i]
		if _, ok := s.(interface{ parser() }); ok {
			if n.nothing() && !p.unpacks(s, n) {
				continue
			}
			p.parses = true
		}
		switch s.(type) {
		case *labelFormatStage, *dropStage, *keepStage:
			p.changes = true
		case decolorizeStage:
			if !n.line && !n.length {
				continue
			}
		}
		s.prepare(n)
		keep = append(keep, s)
	}
	for i := len(keep) - 1; i >= 0; i-- {
		p.rest = append(p.rest, keep[i])
	}
	p.need, p.reads, p.measures = n, n.line, n.length
	addJudges(p.rest)
	return nil
}

// unpacks tells whether s is an unpack stage whose line is needed.
func (p *Pipeline) unpacks(s stage, n *needs) bool {
	_, ok := s.(*unpackStage)
	return ok && (n.line || n.length)
}
