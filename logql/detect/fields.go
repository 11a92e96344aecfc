package detect

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
	"example.com/loki/logql/pipeline"
	"example.com/loki/logql/syntax"
)

// Field is a name that lines or their structured metadata have values for.
type Field struct {
	Name   string
	Type   Type
	Lines  int      // that have it
	Values []string // ascending, without repetition

	// Parsers are those that find the field in the lines: json, logfmt. It is empty for structured
	// metadata, and for what only a stage of the query makes of the line.
	Parsers []string

	// JSONPath is where the field lies in lines that are JSON: the keys as they stand there. nil if it
	// lies in none.
	JSONPath []string
}

// The parsers that are tried, as Field.Parsers names them.
const (
	JSON   = "json"
	Logfmt = "logfmt"
)

const (
	labelError        = "__error__"
	labelErrorDetails = "__error_details__"
	clashSuffix       = "_extracted"
)

// Fields returns the fields of the entries of a log query that was asked with Params.Categorize, those
// that most lines have first. Lines are taken for JSON, else for logfmt. The error is the context's.
//
// Names are those by which a filter finds the field: a field of the line that is called like a label of
// its stream is NAME_extracted. One that is called like structured metadata of its line counts for that.
func Fields(ctx context.Context, streams []logql.StreamResult) ([]Field, error) {
	f, err := newFinder()
	if err != nil {
		return nil, err
	}
	for i := range streams {
		if err := f.stream(ctx, &streams[i]); err != nil {
			return nil, err
		}
	}
	found := make([]Field, 0, len(f.fields))
	for _, n := range f.fields {
		n.Values = slices.Sorted(maps.Keys(n.values))
		found = append(found, n.Field)
	}
	slices.SortFunc(found, func(a, b Field) int {
		return cmp.Or(cmp.Compare(b.Lines, a.Lines), strings.Compare(a.Name, b.Name))
	})
	return found, nil
}

// notes is what is known of a field so far.
type notes struct {
	Field
	values map[string]struct{}
	line   int // number of the last line that had it
	lost   int // lines in which its path was looked for in vain
}

type finder struct {
	json, logfmt *pipeline.Worker
	fields       map[string]*notes
	line         int
	scratch      []labels.Label
	faulty       []int // rows of the batch at hand that are no JSON
	taken        map[string]bool
}

func newFinder() (*finder, error) {
	worker := func(s syntax.Stage) (*pipeline.Worker, error) {
		p, err := pipeline.Compile([]syntax.Stage{s}, pipeline.Options{Categorize: true})
		if err != nil {
			return nil, fmt.Errorf("detect fields: %w", err)
		}
		return p.Worker(), nil
	}
	json, err := worker(&syntax.JSONStage{})
	if err != nil {
		return nil, err
	}
	logfmt, err := worker(&syntax.LogfmtStage{})
	if err != nil {
		return nil, err
	}
	return &finder{json: json, logfmt: logfmt, fields: map[string]*notes{}, taken: map[string]bool{}}, nil
}

// stream looks at the entries of one stream.
func (f *finder) stream(ctx context.Context, s *logql.StreamResult) error {
	for entries := range chunks(s.Entries) {
		f.faulty = f.faulty[:0]
		b := newBatch(s.Labels, entries)
		err := f.json.Run(ctx, &b.Batch, b.MinTime, b.MaxTime+1, func(r *pipeline.Row) bool {
			if r.Err != "" {
				f.faulty = append(f.faulty, r.Index)
				return true
			}
			f.entry(b.entry(r.Index), r, JSON)
			return true
		})
		if err != nil {
			return fmt.Errorf("detect fields: %w", err)
		}
		rest := make([]*logql.EntryResult, len(f.faulty))
		for i, row := range f.faulty {
			rest[i] = b.entry(row)
		}
		if len(rest) == 0 {
			continue
		}
		b = newBatch(s.Labels, rest)
		err = f.logfmt.Run(ctx, &b.Batch, b.MinTime, b.MaxTime+1, func(r *pipeline.Row) bool {
			f.entry(b.entry(r.Index), r, Logfmt)
			return true
		})
		if err != nil {
			return fmt.Errorf("detect fields: %w", err)
		}
	}
	return nil
}

// entry notes the fields of an entry: its metadata, what a parser finds in the line, and what the stages
// of the query had made of it before.
func (f *finder) entry(e *logql.EntryResult, r *pipeline.Row, parser string) {
	f.line++
	e.Metadata.Range(func(l labels.Label) { f.add(l.Name, l.Value, "") })
	clear(f.taken)
	f.scratch = r.AppendParsed(f.scratch[:0])
	var paths map[string][]string
	for _, l := range f.scratch {
		if l.Name == labelError || l.Name == labelErrorDetails {
			continue
		}
		f.taken[l.Name] = true
		name, stem := f.nameOf(l.Name, e)
		value := l.Value
		if e.Parsed.Has(l.Name) {
			value = e.Parsed.Get(l.Name) // a stage may have changed it
		}
		n := f.add(name, value, parser)
		// A path that cannot be told from three lines, as of odd keys, is not looked for in all others.
		if parser == JSON && n.JSONPath == nil && n.lost < 3 {
			if paths == nil {
				paths = jsonPaths(e.Line)
			}
			if n.JSONPath = paths[l.Name]; n.JSONPath == nil {
				n.JSONPath = paths[stem]
			}
			if n.JSONPath == nil {
				n.lost++
			}
		}
	}
	e.Parsed.Range(func(l labels.Label) {
		if l.Name == labelError || l.Name == labelErrorDetails || f.taken[l.Name] {
			return
		}
		name, _ := f.nameOf(l.Name, e)
		f.add(name, l.Value, "")
	})
}

// nameOf returns the name that a parsed label counts for, and the name without clashSuffix.
func (f *finder) nameOf(name string, e *logql.EntryResult) (string, string) {
	stem, clash := strings.CutSuffix(name, clashSuffix)
	if clash && e.Metadata.Has(stem) {
		return stem, stem
	}
	return name, stem
}

// add notes a value; parser is empty where none is needed.
func (f *finder) add(name, value, parser string) *notes {
	n := f.fields[name]
	if n == nil {
		n = &notes{Field: Field{Name: name}, values: map[string]struct{}{}}
		f.fields[name] = n
	}
	if n.line != f.line {
		n.line = f.line
		n.Lines++
	}
	if _, ok := n.values[value]; !ok {
		n.values[value] = struct{}{}
		n.Type = commonType(n.Type, TypeOf(value))
	}
	if parser != "" && !slices.Contains(n.Parsers, parser) {
		n.Parsers = append(n.Parsers, parser)
	}
	return n
}
