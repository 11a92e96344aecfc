package replicas

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/grafana/dskit/user"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/ingester"
	"example.com/loki/logql"
	"example.com/loki/ring/member"
)

// Labels implements ingester.Service.
func (r *Replicas) Labels(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	all, err := ask(ctx, r, "labels", func(ctx context.Context, _ *member.Instance, s ingester.Service) ([]string, error) {
		return s.Labels(ctx, start, end, matchers)
	})
	return union(all, strings.Compare), err
}

// LabelValues implements ingester.Service.
func (r *Replicas) LabelValues(ctx context.Context, name string, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	all, err := ask(ctx, r, "label_values", func(ctx context.Context, _ *member.Instance, s ingester.Service) ([]string, error) {
		return s.LabelValues(ctx, name, start, end, matchers)
	})
	return union(all, strings.Compare), err
}

// Series implements ingester.Service.
func (r *Replicas) Series(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]labels.Labels, error) {
	all, err := ask(ctx, r, "series", func(ctx context.Context, _ *member.Instance, s ingester.Service) ([]labels.Labels, error) {
		return s.Series(ctx, start, end, matchers)
	})
	return union(all, labels.Compare), err
}

// union merges answers into one that is sorted and without repetition.
func union[T any](all [][]T, compare func(a, b T) int) []T {
	if len(all) == 1 {
		return all[0]
	}
	out := slices.Concat(all...)
	slices.SortFunc(out, compare)
	return slices.CompactFunc(out, func(a, b T) bool { return compare(a, b) == 0 })
}

// Volumes implements ingester.Service. What each ingester has comes apart: see logql.MergeVolumes, whose factor is
// ReplicationFactor.
func (r *Replicas) Volumes(ctx context.Context, start, end int64, matchers []*labels.Matcher, known []string) ([]logql.StreamVolume, error) {
	all, err := ask(ctx, r, "volumes", func(ctx context.Context, i *member.Instance, s ingester.Service) ([]logql.StreamVolume, error) {
		vs, err := s.Volumes(ctx, start, end, matchers, known)
		own := []string{i.ID}
		for n := range vs {
			if len(vs[n].Writers) == 0 {
				vs[n].Writers = own // it has no name; copies must not be added up all the same
			}
		}
		return vs, err
	})
	if err != nil {
		return nil, err
	}
	return logql.AddVolumes(slices.Concat(all...)), nil
}

// ReplicationFactor is how many ingesters take each entry in.
func (r *Replicas) ReplicationFactor() int { return r.ring.View().ReplicationFactor() }

// Oldest implements ingester.Service: the oldest of all.
func (r *Replicas) Oldest(ctx context.Context, start, end int64, matchers []*labels.Matcher, known []string) (int64, error) {
	answers, err := ask(ctx, r, "oldest", func(ctx context.Context, _ *member.Instance, s ingester.Service) (int64, error) {
		return s.Oldest(ctx, start, end, matchers, known)
	})
	if err != nil {
		return 0, err
	}
	return slices.Min(append(answers, math.MaxInt64)), nil
}

// Flush implements ingester.Service: all ingesters do it at the same time. The error joins those of all that
// could not.
func (r *Replicas) Flush(ctx context.Context, tenant string) error {
	if err := r.begin(); err != nil {
		return err
	}
	defer r.end()
	ctx, cancel := r.withStop(ctx)
	defer cancel()
	all := r.ring.View().All()
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for n, i := range all {
		wg.Go(func() {
			errs[n] = r.call(ctx, i, "flush", func(s ingester.Service) error { return s.Flush(ctx, tenant) })
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("replicas: flush: %w", err)
	}
	return nil
}

// ask calls f for all ingesters at once and returns the answers of enough of them.
func ask[T any](ctx context.Context, r *Replicas, operation string, f func(context.Context, *member.Instance, ingester.Service) (T, error)) ([]T, error) {
	if _, err := user.ExtractOrgID(ctx); err != nil {
		return nil, fmt.Errorf("replicas: %w", err)
	}
	if err := r.begin(); err != nil {
		return nil, err
	}
	defer r.end()
	ctx, cancel := r.withStop(ctx)
	defer cancel() // whoever has not answered by then need not go on

	roll := r.rollCall(operation)
	type answer struct {
		n     int
		value T
		err   error
	}
	answers := make(chan answer, len(roll.all)) // so that nobody waits to be heard
	for n, i := range roll.all {
		r.calls.Go(func() {
			var a answer
			a.n = n
			a.err = r.call(ctx, i, operation, func(s ingester.Service) (err error) {
				a.value, err = f(ctx, i, s)
				return err
			})
			answers <- a
		})
	}
	var out []T
	for {
		if err := roll.failure(); err != nil {
			return nil, err
		}
		if roll.waiting() == 0 {
			return out, nil
		}
		select {
		case a := <-answers:
			roll.heard(a.n, a.err)
			if a.err == nil {
				out = append(out, a.value)
			}
		case <-roll.patience():
			roll.giveUp()
		case <-ctx.Done():
			return nil, r.ended(ctx)
		}
	}
}

// ended says why a call's context has ended.
func (r *Replicas) ended(ctx context.Context) error {
	if r.ctx.Err() != nil {
		return fmt.Errorf("%w: replicas were stopped", ingester.ErrNotReady)
	}
	return fmt.Errorf("replicas: %w", ctx.Err())
}

// rollCall keeps book of who has answered a read, and knows when enough have.
type rollCall struct {
	r         *Replicas
	operation string
	view      member.View
	all       []*member.Instance
	suspect   []bool // known not to answer: not worth waiting for
	done      []bool // has answered, failed or was given up
	missing   []*member.Instance
	causes    []error
	timer     *time.Timer
	fire      <-chan time.Time
}

func (r *Replicas) rollCall(operation string) *rollCall {
	v := r.view()
	c := &rollCall{r: r, operation: operation, view: v, all: v.All()}
	c.suspect = make([]bool, len(c.all))
	c.done = make([]bool, len(c.all))
	broken := r.brokenOnes(v)
	for n, i := range c.all {
		c.suspect[n] = !v.Healthy(i) || slices.Contains(broken, i)
	}
	return c
}

// heard notes that an ingester has answered all, or failed.
func (c *rollCall) heard(n int, err error) {
	if c.done[n] {
		return
	}
	c.done[n] = true
	if err != nil {
		c.missing = append(c.missing, c.all[n])
		c.causes = append(c.causes, err)
	}
}

// waiting counts those that have not answered.
func (c *rollCall) waiting() int {
	n := 0
	for _, d := range c.done {
		if !d {
			n++
		}
	}
	return n
}

// failure returns an error if too many are missing.
func (c *rollCall) failure() error {
	if len(c.all) == 0 {
		return newNoQuorum(c.operation, c.view.Shortage(1))
	}
	if c.view.Tolerates(c.missing) && len(c.missing) < len(c.all) {
		return nil
	}
	what := fmt.Sprintf("%s: %d of %d ingesters are missing", c.operation, len(c.missing), len(c.all))
	if n := c.view.ReplicationFactor(); c.view.Unseen() > 0 {
		what = fmt.Sprintf("%s: the ring has %d of at least %d ingesters (common.replication_factor), %d of them missing; "+
			"%d must answer, as lines may be on others that this process does not know of yet",
			c.operation, len(c.all), n, len(c.missing), n-c.view.Quorum()+1)
	}
	return newNoQuorum(what, c.causes...)
}

// late returns those that are waited for, given those that are not in want any more.
func (c *rollCall) late(answered func(n int) bool) (late []*member.Instance, suspects bool) {
	suspects = true
	for n, i := range c.all {
		if !c.done[n] && !answered(n) {
			late = append(late, i)
			suspects = suspects && c.suspect[n]
		}
	}
	return late, suspects
}

// patience returns what fires when those that have not answered need not be waited for any more, nil while they
// must be.
func (c *rollCall) patience() <-chan time.Time {
	return c.patienceWith(func(int) bool { return false })
}

// patienceWith is patience where some, though not done, have said enough for now.
func (c *rollCall) patienceWith(answered func(n int) bool) <-chan time.Time {
	late, suspects := c.late(answered)
	missing := append(slices.Clone(c.missing), late...)
	if len(missing) >= len(c.all) || !c.view.Tolerates(missing) {
		c.stop()
		return nil
	}
	if c.fire == nil {
		wait := c.r.cfg.SlowAfter
		if suspects {
			wait = 0
		}
		c.timer = time.NewTimer(wait)
		c.fire = c.timer.C
	}
	return c.fire
}

// stop ends the present patience.
func (c *rollCall) stop() {
	if c.timer != nil {
		c.timer.Stop()
	}
	c.timer, c.fire = nil, nil
}

// giveUp counts all that have not answered as missing.
func (c *rollCall) giveUp() { c.giveUpBut(func(int) bool { return false }) }

func (c *rollCall) giveUpBut(answered func(n int) bool) (given []int) {
	c.stop()
	for n, i := range c.all {
		if !c.done[n] && !answered(n) {
			c.heard(n, fmt.Errorf("ingester %s at %s: %w", i.ID, i.Addr, errSlow))
			c.r.wasSlow(i)
			given = append(given, n)
		}
	}
	if len(given) > 0 {
		c.r.metrics.late.Inc()
	}
	return given
}
