package loki

import (
	"context"
	"fmt"
	"iter"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/distributor"
	"example.com/loki/frontend"
	"example.com/loki/logql"
	"example.com/loki/querier"
)

// absent stands in for components that a process neither has nor reaches. All calls fail with ErrNotHere.
type absent struct{}

var (
	_ distributor.Service = absent{}
	_ frontend.Service    = absent{}
)

func notHere(c Component) error {
	return fmt.Errorf("%w: it has no %s", ErrNotHere, c)
}

func (absent) Push(context.Context, *distributor.PushRequest) error { return notHere(Distributor) }

func (absent) Query(context.Context, *logql.Params) (*logql.Result, error) {
	return nil, notHere(QueryFrontend)
}

func (absent) Labels(context.Context, int64, int64, []*labels.Matcher) ([]string, error) {
	return nil, notHere(QueryFrontend)
}

func (absent) LabelValues(context.Context, string, int64, int64, []*labels.Matcher) ([]string, error) {
	return nil, notHere(QueryFrontend)
}

func (absent) Series(context.Context, int64, int64, [][]*labels.Matcher) ([]labels.Labels, error) {
	return nil, notHere(QueryFrontend)
}

func (absent) IndexStats(context.Context, int64, int64, []*labels.Matcher) (frontend.IndexStats, error) {
	return frontend.IndexStats{}, notHere(QueryFrontend)
}

func (absent) IndexShards(context.Context, int64, int64, []*labels.Matcher, int64) ([]frontend.IndexShard, error) {
	return nil, notHere(QueryFrontend)
}

func (absent) Volume(context.Context, *frontend.VolumeRequest) (*logql.Result, error) {
	return nil, notHere(QueryFrontend)
}

func (absent) Tail(context.Context, *querier.TailRequest) iter.Seq2[*querier.TailResponse, error] {
	return func(yield func(*querier.TailResponse, error) bool) { yield(nil, notHere(QueryFrontend)) }
}
