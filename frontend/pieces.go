package frontend

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"example.com/loki/limits"
	"example.com/loki/logql"
	"example.com/loki/querier"
)

// A leaf's range is cut on a grid of times, and a querier is asked what each piece of it would read. Pieces
// whose answers can be kept are tasks of their own, the others are put together into tasks of about
// Config.TaskBytes. Both grids are coarse, so that the number of tasks is bounded whatever is asked for.
const (
	gridOfTasks   = 96 // pieces at most where only bytes decide
	gridOfAnswers = 24 // pieces at most where answers are kept
	maxTasks      = 64 // tasks at most that one stretch without kept answers is cut into
)

// job is a task and what is known about it.
type job struct {
	leaf    int
	task    logql.Task
	key     string         // names the answer but for what it is read from; empty: it isn't kept
	partial *logql.Partial // the answer, if it is known; of this plan
}

// run is a query of one tenant that is being answered.
type run struct {
	*Frontend
	plan       *logql.Plan
	limits     *limits.Limits
	tenant     string
	generation string
	answers    answers // kept ones; without a cache if none are
}

// jobs returns what there is to do for a leaf, in the direction of the query.
func (r *run) jobs(ctx context.Context, leaf int) ([]*job, error) {
	l := r.plan.Leaves[leaf]
	whole := []*job{r.job(leaf, l.Start, l.End, 0)}
	split := r.cfg.SplitTasks && r.limits.SplitQueriesByInterval > 0
	// With an interval, which entries count depends on all those before.
	if l.Start >= l.End || r.plan.Params.Interval > 0 || !split && r.answers.cache == nil {
		return whole, nil
	}
	most := gridOfTasks
	if r.answers.cache != nil {
		most = gridOfAnswers
	}
	if r.limits.SplitQueriesByInterval <= 0 {
		most = 1
	}
	cuts := grid(l.Start, l.End, most)
	pieces, err := retried(ctx, r.Frontend, func() ([]querier.SurveyPiece, error) {
		return r.querier.Survey(ctx, &querier.SurveyRequest{Matchers: l.Matchers, Cuts: cuts})
	})
	if err != nil {
		return nil, fmt.Errorf("ask what the query reads: %w", err)
	}
	if len(pieces) != len(cuts)-1 {
		return nil, fmt.Errorf("a survey of %d pieces has %d", len(cuts)-1, len(pieces))
	}
	kept, err := r.kept(ctx, leaf, cuts, pieces)
	if err != nil {
		return nil, err
	}
	weights, err := r.weights(ctx, leaf, pieces, split)
	if err != nil {
		return nil, err
	}
	var all []*job
	for i := 0; i < len(pieces); {
		if kept[i] != nil {
			kept[i].task.Bytes = weights[i]
			all = append(all, kept[i])
			i++
			continue
		}
		n := i + 1
		for n < len(pieces) && kept[n] == nil {
			n++
		}
		sum := int64(0)
		for _, w := range weights[i:n] {
			sum += w
		}
		tasks := int64(1)
		if split {
			tasks = min(max(1, (sum+r.cfg.TaskBytes-1)/r.cfg.TaskBytes), maxTasks)
		}
		for _, to := range even(weights[i:n], sum, tasks) {
			bytes := int64(0)
			for _, w := range weights[i : i+to] {
				bytes += w
			}
			all = append(all, r.job(leaf, cuts[i], cuts[i+to], bytes))
			i += to
		}
	}
	if l.Ordered && r.plan.Params.Direction == logql.Backward {
		slices.Reverse(all)
	}
	return all, nil
}

func (r *run) job(leaf int, from, through, bytes int64) *job {
	return &job{leaf: leaf, task: logql.Task{Params: r.plan.Params, Leaf: leaf, From: from, Through: through, Bytes: bytes}}
}

// kept returns the jobs of those pieces whose answers can be kept, with the answers that are.
func (r *run) kept(ctx context.Context, leaf int, cuts []int64, pieces []querier.SurveyPiece) ([]*job, error) {
	jobs := make([]*job, len(pieces))
	if r.answers.cache == nil {
		return jobs, nil
	}
	var ask []string
	var at []int
	for i, p := range pieces {
		if p.Source == "" {
			continue
		}
		task, key, ok := r.plan.Piece(leaf, cuts[i], cuts[i+1])
		if !ok {
			continue
		}
		jobs[i] = &job{leaf: leaf, task: task, key: key}
		ask = append(ask, r.fullKey(key, p.Source))
		at = append(at, i)
	}
	if len(ask) == 0 {
		return jobs, nil
	}
	for n, part := range r.answers.get(ctx, ask) {
		if part == nil {
			continue
		}
		j := jobs[at[n]]
		var err error
		if j.partial, err = r.plan.Adopt(&j.task, part); err != nil {
			return nil, fmt.Errorf("use a kept answer: %w", err)
		}
	}
	return jobs, nil
}

// fullKey names an answer and everything that it depends on.
func (r *run) fullKey(key, source string) string {
	return fmt.Sprintf("%d:%s %d:%s %x %s", len(r.tenant), r.tenant, len(r.generation), r.generation, source, key)
}

// weights estimates the bytes that the query reads in each piece.
func (r *run) weights(ctx context.Context, leaf int, pieces []querier.SurveyPiece, split bool) ([]int64, error) {
	weights := make([]int64, len(pieces))
	var segments, open int64 // bytes in segments; pieces that ingesters have rows of
	for i, p := range pieces {
		weights[i] = p.Bytes
		segments += p.Bytes
		if p.Source == "" {
			open++
		}
	}
	// Segments have other streams too, so this is the most that there can be in them.
	if !split || segments <= r.cfg.TaskBytes && open == 0 {
		return weights, nil
	}
	matching, err := r.volume(ctx, leaf)
	if err != nil {
		return nil, err
	}
	share := 1.0
	if segments > 0 {
		share = min(1, float64(matching)/float64(segments))
	}
	for i := range weights {
		weights[i] = int64(float64(weights[i]) * share)
		if rest := matching - segments; rest > 0 && pieces[i].Source == "" {
			weights[i] += rest / open
		}
	}
	return weights, nil
}

// volume returns the bytes of a leaf's streams in its range.
func (r *run) volume(ctx context.Context, leaf int) (int64, error) {
	l := r.plan.Leaves[leaf]
	volumes, err := retried(ctx, r.Frontend, func() ([]logql.StreamVolume, error) {
		return r.querier.Volumes(ctx, l.Start, l.End, l.Matchers, []string{})
	})
	if err != nil {
		return 0, fmt.Errorf("estimate what the query reads: %w", err)
	}
	var bytes int64
	for _, v := range volumes {
		bytes += v.Bytes
	}
	return bytes, nil
}

// even cuts weights into at most n consecutive groups of about the same sum, and returns how many belong to
// each.
func even(weights []int64, sum, n int64) []int {
	if n <= 1 {
		return []int{len(weights)}
	}
	var groups []int
	size, have := 0, int64(0)
	for _, w := range weights {
		// A group ends before what would take it further beyond its share than it lacks of it.
		if share := sum / n; size > 0 && have+w/2 > share && int64(len(groups)) < n-1 {
			groups = append(groups, size)
			size, have = 0, 0
		}
		size++
		have += w
	}
	return append(groups, size)
}

// grid returns the edges of at most n pieces of a range. All but the first and the last lie a nanosecond past the
// multiples of the distance between them, which is a number of minutes, halved or doubled. Thus queries of about the
// same length have the same edges, whenever they begin, and no minute as stores count them (column.MinuteOf) is cut.
func grid(start, end int64, n int) []int64 {
	width := int64(time.Minute)
	for n > 1 && (float64(end)-float64(start))/float64(width) > float64(n-1) && width < math.MaxInt64/4 {
		width *= 2
	}
	cuts := []int64{start}
	if n > 1 {
		_, next := align(start, min(start, math.MaxInt64-1)+1, width)
		for next < end-1 {
			cuts = append(cuts, next+1)
			if next > math.MaxInt64-width {
				break
			}
			next += width
		}
	}
	return append(cuts, end)
}
