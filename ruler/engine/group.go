package engine

import (
	"context"
	"hash/fnv"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/rules"

	"example.com/loki/ruler"
)

// group evaluates one group of rules.
type group struct {
	tenant   *tenant
	manager  *rules.Manager
	rules    atomic.Pointer[ruler.Group]
	running  sync.WaitGroup
	stopped  chan struct{} // closed when the group shall evaluate no more
	stopOnce sync.Once

	catchingUp atomic.Bool // nobody is told of what is made up for
	lineAsks   atomic.Int64
	saver      saver // used by the goroutine that evaluates, and when that has ended

	begun        bool // used by the goroutine that evaluates
	retiredUntil time.Time
}

func (t *tenant) newGroup(def ruler.Group) *group {
	g := &group{tenant: t, stopped: make(chan struct{})}
	g.saver = saver{g: g}
	// The manager takes groups without a look at how alerts were before if it has had others: they are restored
	// here, in begin.
	g.manager = rules.NewManager(&rules.ManagerOptions{
		ExternalURL:     t.r.cfg.ExternalURL,
		QueryFunc:       g.query,
		NotifyFunc:      g.notify,
		Context:         t.ctx,
		Appendable:      appendable{t.queue},
		Queryable:       nothing{},
		Logger:          t.log,
		OutageTolerance: t.r.cfg.OutageTolerance,
		ResendDelay:     t.r.cfg.ResendDelay,
		GroupLoader:     current{g},
		Metrics:         t.metrics,

		RuleDependencyController: independent{},
	})
	_ = g.manager.Update(t.r.cfg.EvaluationInterval, nil, t.r.cfg.ExternalLabels, "", g.iterate) // no group, no error
	g.running.Go(g.manager.Run)
	g.load(def)
	return g
}

// independent is a rules.RuleDependencyController that does not look into expressions, which aren't PromQL. Rules
// are evaluated one after the other.
type independent struct{}

// AnalyseRules implements rules.RuleDependencyController.
func (independent) AnalyseRules([]rules.Rule) {}

// current returns the definition of the group.
func (g *group) current() *ruler.Group { return g.rules.Load() }

func (g *group) load(def ruler.Group) {
	g.rules.Store(&def)
	cfg := &g.tenant.r.cfg
	if err := g.manager.Update(cfg.EvaluationInterval, []string{def.Namespace}, cfg.ExternalLabels, cfg.ExternalURL.String(), g.iterate); err != nil {
		g.tenant.log.Error("a group of rules can't be started", "namespace", def.Namespace, "group", def.Name, "err", err)
	}
}

// update takes a new definition of the group. Alerts stay what they are.
func (g *group) update(def ruler.Group) {
	old := *g.current()
	if reflect.DeepEqual(old, def) {
		return
	}
	g.load(def)
}

// stop ends evaluations and waits for the one under way.
func (g *group) stop() {
	g.stopOnce.Do(func() {
		close(g.stopped)
		g.manager.Stop()
		g.running.Wait()
	})
}

// handOver stops the group and keeps its state for the next one who evaluates it.
func (g *group) handOver() {
	g.stop()
	g.saver.save(true)
	def := g.current()
	key := rules.GroupKey(def.Namespace, def.Name)
	m := g.tenant.metrics
	m.IterationsMissed.DeleteLabelValues(key)
	m.IterationsScheduled.DeleteLabelValues(key)
	m.EvalTotal.DeleteLabelValues(key)
	m.EvalFailures.DeleteLabelValues(key)
	m.GroupInterval.DeleteLabelValues(key)
	m.GroupLastEvalTime.DeleteLabelValues(key)
	m.GroupLastDuration.DeleteLabelValues(key)
	m.GroupLastRuleDurationSum.DeleteLabelValues(key)
	m.GroupRules.DeleteLabelValues(key)
	m.GroupSamples.DeleteLabelValues(key)
}

// retire ends a group that was deleted. Its series are marked as stale two intervals later.
func (g *group) retire() {
	cfg := &g.tenant.r.cfg
	_ = g.manager.Update(cfg.EvaluationInterval, nil, cfg.ExternalLabels, "", g.iterate) // no group, no error
	g.retiredUntil = time.Now().Add(2*g.interval() + time.Second)
	g.saver.forget()
}

func (g *group) interval() time.Duration {
	if i := g.current().Interval; i > 0 {
		return i
	}
	return g.tenant.r.cfg.EvaluationInterval
}

// iterate is the rules.GroupEvalIterationFunc: it evaluates the group for a time.
func (g *group) iterate(ctx context.Context, rg *rules.Group, at time.Time) {
	if !g.jitter(rg) {
		return
	}
	if !g.begun {
		if !g.begin(ctx, rg, at) {
			return
		}
		g.begun = true
	}
	g.lineAsks.Store(0)
	rules.DefaultEvalIterationFunc(ctx, rg, at)
	g.saver.evaluated(rg, at)
}

// jitter waits for the group's place within the time over which evaluations are spread; false if it is stopped.
func (g *group) jitter(rg *rules.Group) bool {
	most := min(g.tenant.r.cfg.MaxJitter, rg.Interval()/2)
	if most <= 0 {
		return true
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(g.tenant.id + "\x00" + rg.File() + "\x00" + rg.Name()))
	select {
	case <-time.After(time.Duration(h.Sum64() % uint64(most))):
		return true
	case <-g.stopped:
		return false
	}
}

// begin goes on where whoever evaluated the group before has stopped: it restores alerts and makes up for
// evaluations that were missed. It returns false if the group is stopped meanwhile.
func (g *group) begin(ctx context.Context, rg *rules.Group, at time.Time) bool {
	saved := g.saver.load(ctx)
	if saved == nil {
		return true
	}
	last := time.Unix(0, saved.Evaluated)
	if age := at.Sub(last); age > g.tenant.r.cfg.OutageTolerance || age <= 0 {
		return true
	}
	g.restore(ctx, rg, saved)
	var missed []time.Time
	for t := rg.EvalTimestamp(last.UnixNano()).Add(rg.Interval()); t.Before(at); t = t.Add(rg.Interval()) {
		if t.After(last) {
			missed = append(missed, t)
		}
	}
	if skip := len(missed) - max(g.tenant.r.cfg.CatchUp, 0); skip > 0 {
		key := rules.GroupKey(rg.File(), rg.Name())
		g.tenant.metrics.IterationsMissed.WithLabelValues(key).Add(float64(skip))
		g.tenant.metrics.IterationsScheduled.WithLabelValues(key).Add(float64(skip))
		missed = missed[skip:]
	}
	g.catchingUp.Store(true)
	defer g.catchingUp.Store(false)
	for _, t := range missed {
		select {
		case <-g.stopped:
			return false
		default:
		}
		rules.DefaultEvalIterationFunc(ctx, rg, t)
		g.saver.evaluated(rg, t)
		g.tenant.r.metrics.caughtUp.Inc()
	}
	return true
}

// restore gives the alerting rules the alerts that they had. The rules make alerts from what their expression gives
// only, so that is what they get; then the alerts are made to be as they were.
func (g *group) restore(ctx context.Context, rg *rules.Group, saved *savedState) {
	byRule := map[string][]savedRule{}
	for _, r := range saved.Rules {
		byRule[r.key()] = append(byRule[r.key()], r)
	}
	for _, r := range rg.Rules() {
		rule, ok := r.(*rules.AlertingRule)
		if !ok {
			continue
		}
		key := savedRule{Name: rule.Name(), Labels: rule.Labels().String()}.key()
		if len(byRule[key]) == 0 {
			continue
		}
		before := byRule[key][0]
		byRule[key] = byRule[key][1:]
		byLabels := map[string]*savedAlert{}
		var vector promql.Vector
		for i := range before.Alerts {
			a := &before.Alerts[i]
			byLabels[a.Labels.String()] = a
			vector = append(vector, promql.Sample{T: saved.Evaluated / 1e6, F: a.value(), Metric: a.Labels})
		}
		asked := false
		_, err := rule.Eval(ctx, 0, time.Unix(0, saved.Evaluated), func(context.Context, string, time.Time) (promql.Vector, error) {
			if asked {
				return nil, nil // a template asks; what it says is replaced anyway
			}
			asked = true
			return vector, nil
		}, g.tenant.r.cfg.ExternalURL, 0)
		if err != nil {
			g.tenant.log.Warn("alerts of a rule can't be restored", "group", rg.Name(), "rule", rule.Name(), "err", err)
			continue
		}
		rule.ForEachActiveAlert(func(a *rules.Alert) {
			if s := byLabels[a.Labels.String()]; s != nil {
				s.apply(a)
				return
			}
			// Its labels come out otherwise than before, so it is not known which one it was.
			*a = rules.Alert{State: rules.StatePending, Labels: a.Labels, Annotations: a.Annotations, Value: a.Value, ActiveAt: time.Unix(0, saved.Evaluated)}
		})
	}
}
