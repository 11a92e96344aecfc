package logql

import (
	"errors"

	"github.com/grafana/regexp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/syntax"
)

// labelReplace evaluates label_replace: where the source label matches the whole expression, the
// destination gets the replacement, or goes if that is empty.
func (ev *evaluator) labelReplace(e *syntax.LabelReplace, in value) (value, error) {
	if in.scalar {
		return value{}, queryErrorf(KindParams, "label_replace works on series, not on a number")
	}
	re, err := replaceRegexp(e)
	if err != nil {
		return value{}, err
	}
	out := newCollector(ev)
	b := labels.NewBuilder(labels.EmptyLabels())
	for _, s := range in.series {
		src := s.labels.Get(e.Source)
		ls := s.labels
		if at := re.FindStringSubmatchIndex(src); at != nil {
			b.Reset(s.labels)
			if v := re.ExpandString(nil, e.Replacement, src, at); len(v) > 1<<20 {
				return value{}, queryErrorf(KindLabels, "label_replace makes a value of %d bytes; a label may have 1 MiB", len(v))
			} else if len(v) > 0 {
				b.Set(e.Destination, string(v))
			} else {
				b.Del(e.Destination)
			}
			ls = b.Labels()
		}
		if err := out.add(ls, s.points); errors.Is(err, KindMatching) {
			return value{}, queryErrorf(KindLabels, "label_replace gives several series the labels %s; "+
				"replace into a label that keeps them apart, or aggregate the result", ls)
		} else if err != nil {
			return value{}, err
		}
	}
	return value{series: out.all, ordered: in.ordered}, nil
}

// replaceRegexp compiles the expression of label_replace and checks its destination.
func replaceRegexp(e *syntax.LabelReplace) (*regexp.Regexp, error) {
	if !model.LegacyValidation.IsValidLabelName(e.Destination) {
		return nil, queryErrorf(KindLabels, "%q is no label name; label_replace needs letters, digits and underscores", e.Destination)
	}
	re, err := regexp.Compile("^(?:" + e.Regex + ")$")
	if err != nil {
		return nil, queryErrorf(KindQuery, "invalid regex in label_replace: %v", err)
	}
	return re, nil
}
