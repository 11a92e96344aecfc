package engine

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	dskit "github.com/grafana/dskit/tenant"
	"github.com/prometheus/prometheus/rules"

	"example.com/loki/ruler"
)

// Groups implements ruler.Service.
func (r *Ruler) Groups(ctx context.Context, namespace string) ([]ruler.Group, error) {
	id, err := dskit.TenantID(ctx)
	if err != nil {
		return nil, err
	}
	return r.store.Groups(ctx, id, namespace)
}

// Group implements ruler.Service.
func (r *Ruler) Group(ctx context.Context, namespace, name string) (ruler.Group, error) {
	id, err := dskit.TenantID(ctx)
	if err != nil {
		return ruler.Group{}, err
	}
	return r.store.Group(ctx, id, namespace, name)
}

// SetGroup implements ruler.Service.
func (r *Ruler) SetGroup(ctx context.Context, g ruler.Group) error {
	id, err := dskit.TenantID(ctx)
	if err != nil {
		return err
	}
	if g.Namespace == "" {
		return fmt.Errorf("%w: the namespace is empty", ruler.ErrInvalid)
	}
	if err := g.Check(); err != nil {
		return err
	}
	if err := checkTemplates(&g); err != nil {
		return err
	}
	lim := r.limits(id)
	if n := lim.RulerMaxRulesPerRuleGroup; n > 0 && len(g.Rules) > n {
		return fmt.Errorf("per-user rules per rule group limit (limit: %d actual: %d) exceeded%w", n, len(g.Rules), silent{ruler.ErrLimit})
	}
	if n := lim.RulerMaxRuleGroupsPerTenant; n > 0 {
		all, err := r.store.Groups(ctx, id, "")
		if err != nil {
			return err
		}
		others := 0
		for i := range all {
			if keyOf(&all[i]) != keyOf(&g) {
				others++
			}
		}
		if others+1 > n {
			return fmt.Errorf("per-user rule groups limit (limit: %d actual: %d) exceeded%w", n, others+1, silent{ruler.ErrLimit})
		}
	}
	return r.then(r.store.SetGroup(ctx, id, g))
}

// silent is an error that adds nothing to the text of another one that wraps it.
type silent struct{ error }

// Error returns nothing.
func (silent) Error() string { return "" }

// Unwrap returns the error.
func (s silent) Unwrap() error { return s.error }

// DeleteGroup implements ruler.Service.
func (r *Ruler) DeleteGroup(ctx context.Context, namespace, name string) error {
	id, err := dskit.TenantID(ctx)
	if err != nil {
		return err
	}
	return r.then(r.store.DeleteGroup(ctx, id, namespace, name))
}

// DeleteNamespace implements ruler.Service.
func (r *Ruler) DeleteNamespace(ctx context.Context, namespace string) error {
	id, err := dskit.TenantID(ctx)
	if err != nil {
		return err
	}
	return r.then(r.store.DeleteNamespace(ctx, id, namespace))
}

// then makes a change that has succeeded take effect here at once.
func (r *Ruler) then(err error) error {
	if err == nil {
		select {
		case r.changed <- struct{}{}:
		default:
		}
	}
	return err
}

// Status implements ruler.Service. What no ruler reports, because it is new or its ruler can't be reached, is there
// as the store has it, with unknown health.
func (r *Ruler) Status(ctx context.Context, req ruler.StatusRequest) ([]ruler.GroupStatus, error) {
	id, err := dskit.TenantID(ctx)
	if err != nil {
		return nil, err
	}
	found := map[groupKey]ruler.GroupStatus{}
	for _, g := range r.localStatus(id) {
		found[groupKey{g.Namespace, g.Name}] = g
	}
	if !req.Local {
		for _, g := range r.othersStatus(ctx) {
			key := groupKey{g.Namespace, g.Name}
			if mine, ok := found[key]; !ok || g.LastEvaluation.After(mine.LastEvaluation) {
				found[key] = g
			}
		}
		groups, err := r.store.Groups(ctx, id, "")
		if err != nil {
			return nil, err
		}
		for i := range groups {
			if g := &groups[i]; !containsKey(found, keyOf(g)) {
				found[keyOf(g)] = r.unknown(g)
			}
		}
	}
	all := make([]ruler.GroupStatus, 0, len(found))
	for _, g := range found {
		all = append(all, g)
	}
	slices.SortFunc(all, func(a, b ruler.GroupStatus) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return all, nil
}

func containsKey(m map[groupKey]ruler.GroupStatus, k groupKey) bool { _, ok := m[k]; return ok }

func (r *Ruler) unknown(g *ruler.Group) ruler.GroupStatus {
	out := ruler.GroupStatus{Namespace: g.Namespace, Name: g.Name, Interval: cmp.Or(g.Interval, r.cfg.EvaluationInterval), Limit: g.Limit}
	for _, rule := range g.Rules {
		out.Rules = append(out.Rules, ruler.RuleStatus{Rule: merged(g, rule), State: ruler.Inactive, Health: ruler.HealthUnknown})
	}
	return out
}

// merged returns a rule with the labels of its group.
func merged(g *ruler.Group, rule ruler.Rule) ruler.Rule {
	if len(g.Labels) > 0 {
		rule.Labels = rules.FromMaps(g.Labels, rule.Labels).Map()
	}
	return rule
}

func (r *Ruler) localStatus(id string) []ruler.GroupStatus {
	t := r.tenant(id)
	if t == nil {
		return nil
	}
	var all []ruler.GroupStatus
	for _, g := range t.running() {
		def := g.current()
		out := r.unknown(def)
		for _, rg := range g.manager.RuleGroups() {
			out.LastEvaluation, out.EvaluationTime = rg.GetLastEvaluation(), rg.GetEvaluationTime()
			for i, rule := range rg.Rules() {
				if i < len(out.Rules) {
					ruleStatus(&out.Rules[i], rule)
				}
			}
		}
		all = append(all, out)
	}
	return all
}

func ruleStatus(out *ruler.RuleStatus, rule rules.Rule) {
	out.LastEvaluation, out.EvaluationTime = rule.GetEvaluationTimestamp(), rule.GetEvaluationDuration()
	out.Health = ruler.Health(rule.Health())
	if err := rule.LastError(); err != nil {
		out.LastError = err.Error()
	}
	a, ok := rule.(*rules.AlertingRule)
	if !ok {
		return
	}
	out.State = stateOf(a.State())
	for _, alert := range a.ActiveAlerts() {
		out.Alerts = append(out.Alerts, ruler.Alert{
			Labels: alert.Labels, Annotations: alert.Annotations, State: stateOf(alert.State), ActiveAt: alert.ActiveAt,
			KeepFiringSince: alert.KeepFiringSince, Value: alert.Value,
		})
	}
	slices.SortFunc(out.Alerts, func(a, b ruler.Alert) int { return cmp.Compare(a.Labels.String(), b.Labels.String()) })
}

func stateOf(s rules.AlertState) ruler.AlertState {
	switch s {
	case rules.StatePending:
		return ruler.Pending
	case rules.StateFiring:
		return ruler.Firing
	}
	return ruler.Inactive
}

// peer is a connection to another ruler.
type peer struct {
	service ruler.Service
	closer  io.Closer
}

func (p *peer) close() error {
	if p.closer == nil {
		return nil
	}
	return p.closer.Close()
}

// askTimeout is how long another ruler may take to say how its groups are.
const askTimeout = 5 * time.Second

// othersStatus asks all other rulers for the groups of the tenant.
func (r *Ruler) othersStatus(ctx context.Context) []ruler.GroupStatus {
	if r.rulers.Ring == nil || r.rulers.Dial == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var mu sync.Mutex
	var all []ruler.GroupStatus
	var wg sync.WaitGroup
	view := r.rulers.Ring.View()
	for _, i := range view.All() {
		if i.Addr == r.rulers.Self || !view.Healthy(i) {
			continue
		}
		p, err := r.peer(i.Addr)
		if err != nil {
			r.log.Warn("a ruler can't be reached", "addr", i.Addr, "err", err)
			continue
		}
		wg.Go(func() {
			groups, err := p.service.Status(ctx, ruler.StatusRequest{Local: true})
			if err != nil {
				r.log.Warn("a ruler does not say how its rules are", "addr", i.Addr, "err", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, groups...)
		})
	}
	wg.Wait()
	return all
}

func (r *Ruler) peer(addr string) (*peer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, ok := r.clients[addr]; ok {
		return p, nil
	}
	s, closer, err := r.rulers.Dial(addr)
	if err != nil {
		return nil, err
	}
	p := &peer{s, closer}
	r.clients[addr] = p
	return p, nil
}
