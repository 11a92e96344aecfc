package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/grafana/dskit/user"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/rules"

	"example.com/loki/ruler"
	"example.com/loki/ruler/engine/remotewrite"
)

// tenant runs the groups of a tenant that belong to this process. update and stop are called by one goroutine.
type tenant struct {
	r          *Ruler
	id         string
	ctx        context.Context // carries the tenant; ends when the tenant is stopped
	cancel     context.CancelFunc
	log        *slog.Logger
	unregister []func()
	metrics    *rules.Metrics
	notify     *notifications
	queue      *remotewrite.Queue // nil without remote write
	sending    sync.WaitGroup
	stopSend   context.CancelFunc

	mu      sync.Mutex
	groups  map[groupKey]*group
	retired []*group // deleted; they mark their series as stale yet
}

func (r *Ruler) newTenant(id string) (t *tenant, err error) {
	log := r.log.With("tenant", id)
	ctx, cancel := context.WithCancel(user.InjectOrgID(context.Background(), id))
	t = &tenant{r: r, id: id, ctx: ctx, cancel: cancel, log: log, groups: map[groupKey]*group{}}
	defer func() {
		if err != nil {
			cancel()
			for _, f := range t.unregister {
				f()
			}
		}
	}()
	own, remove := forTenant(r.reg, id)
	t.unregister = append(t.unregister, remove)
	t.metrics = rules.NewGroupMetrics(own)
	if t.notify, err = newNotifications(r.cfg.Notify, r.cfg.ExternalLabels, log, own); err != nil {
		return nil, err
	}
	lim := r.limits(id)
	if w := r.cfg.RemoteWrite; len(w.Receivers) > 0 && !lim.RulerRemoteWriteDisabled {
		queues := prometheus.NewRegistry()
		t.queue, err = remotewrite.Open(remotewrite.Config{
			Dir: filepath.Join(r.cfg.Dir, id), Receivers: w.forTenant(id), ExternalLabels: r.cfg.ExternalLabels, MaxAge: w.MaxAge,
		}, log, queues)
		if err != nil {
			return nil, err
		}
		if r.reg != nil {
			wrapped := prometheus.WrapRegistererWith(prometheus.Labels{"tenant": id}, r.reg)
			if err := wrapped.Register(queues); err != nil {
				return nil, errors.Join(err, t.queue.Close())
			}
			t.unregister = append(t.unregister, func() { wrapped.Unregister(queues) })
		}
	}
	if r.reg != nil {
		if err := tenantRegisterer(r.reg, id).Register(own); err != nil {
			if t.queue != nil {
				err = errors.Join(err, t.queue.Close())
			}
			return nil, err
		}
	}
	sendCtx, stopSend := context.WithCancel(ctx)
	t.stopSend = stopSend
	if t.queue != nil {
		t.sending.Go(func() { t.queue.Run(sendCtx) })
	}
	t.sending.Go(func() { t.notify.run(sendCtx) })
	r.mu.Lock()
	r.tenants[id] = t
	r.mu.Unlock()
	return t, nil
}

// update makes the groups that run equal to own. all are those of the tenant, whoever evaluates them: what is
// not among them was deleted.
func (t *tenant) update(own []ruler.Group, all map[groupKey]bool) {
	wanted := map[groupKey]*ruler.Group{}
	for i := range own {
		wanted[keyOf(&own[i])] = &own[i]
	}
	t.mu.Lock()
	running := make([]*group, 0, len(t.groups))
	for _, g := range t.groups {
		running = append(running, g)
	}
	t.mu.Unlock()

	var stopping sync.WaitGroup
	for _, g := range running {
		key := keyOf(g.current())
		switch {
		case wanted[key] != nil:
			g.update(*wanted[key])
			delete(wanted, key)
		case all[key]: // another ruler's from now on
			t.take(key, nil)
			stopping.Go(g.handOver)
		default:
			t.take(key, g)
			stopping.Go(g.retire)
		}
	}
	stopping.Wait()
	for _, g := range wanted {
		n := t.newGroup(*g)
		t.mu.Lock()
		t.groups[keyOf(g)] = n
		t.mu.Unlock()
		t.r.metrics.groups.Inc()
	}
	t.reap(time.Now())
}

// take removes a group from those that run and, unless nil, keeps it among those that were deleted.
func (t *tenant) take(key groupKey, retired *group) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.groups, key)
	if retired != nil {
		t.retired = append(t.retired, retired)
	}
	t.r.metrics.groups.Dec()
}

// reap stops groups that were deleted long enough ago to have marked their series.
func (t *tenant) reap(now time.Time) {
	t.mu.Lock()
	var done []*group
	t.retired = slices.DeleteFunc(t.retired, func(g *group) bool {
		if now.Before(g.retiredUntil) {
			return false
		}
		done = append(done, g)
		return true
	})
	t.mu.Unlock()
	for _, g := range done {
		g.stop()
	}
}

// idle tells that nothing of the tenant is left to run.
func (t *tenant) idle() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.groups) == 0 && len(t.retired) == 0
}

// running returns the groups that run, by namespace and name.
func (t *tenant) running() []*group {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*group, 0, len(t.groups))
	for _, g := range t.groups {
		all = append(all, g)
	}
	return all
}

// stopGrace is how long evaluations under way may take when the ruler stops.
const stopGrace = 10 * time.Second

// stop ends everything. What was not delivered of samples stays in the queue.
func (t *tenant) stop() error {
	hurry := time.AfterFunc(stopGrace, t.cancel)
	defer hurry.Stop()
	t.mu.Lock()
	groups, retired := t.groups, t.retired
	t.groups, t.retired = map[groupKey]*group{}, nil
	t.mu.Unlock()
	var wg sync.WaitGroup
	for _, g := range groups {
		wg.Go(g.handOver)
		t.r.metrics.groups.Dec()
	}
	for _, g := range retired {
		wg.Go(g.stop)
	}
	wg.Wait()
	t.stopSend()
	t.sending.Wait()
	t.cancel()
	var err error
	if t.queue != nil {
		if err = t.queue.Close(); err != nil {
			err = fmt.Errorf("ruler: tenant %s: %w", t.id, err)
		}
	}
	for _, f := range t.unregister {
		f()
	}
	return err
}
