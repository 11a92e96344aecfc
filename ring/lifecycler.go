package ring

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/go-kit/log"
	dsring "github.com/grafana/dskit/ring"
	"github.com/grafana/dskit/services"

	"example.com/loki/ring/member"
)

// LifecyclerConfig is how this process takes part in one ring.
type LifecyclerConfig struct {
	// Name of the ring: that of the component, such as "ingester". Required.
	Name string
	// Tokens is how many places the instance takes on the ring of keys. 0 means 128.
	Tokens int
	// TokensFile keeps the tokens over restarts, so that keys stay where they are though the ring has
	// forgotten the instance. Empty: only the ring keeps them.
	TokensFile string
	// ObservePeriod is how long the instance stays JOINING: so long the others have to hear of it, and to
	// subscribe to it, before it gets work. 0 means 1s with Memberlist, negative and InMemory none.
	ObservePeriod time.Duration
	// KeepOnShutdown leaves the instance in the ring when it stops, as one that is away. It is for
	// instances that come back with their data; see Lifecycler.SetKeep.
	KeepOnShutdown bool
	// BeforeLeave is called when the instance stops for good (it is not to be kept in the ring) and all that could
	// be told know that it is LEAVING: it gets nothing new but is still read from. An ingester flushes here.
	// Its error is logged, and the instance is then kept in the ring, because its data are not elsewhere.
	// nil: nothing to do.
	BeforeLeave func(ctx context.Context) error
	// FinalSleep is how long the instance goes on LEAVING after that, so that queries which began before can
	// end and all have seen what was flushed. 0: not at all.
	FinalSleep time.Duration
	// ForgetAfter removes instances from the ring that were unhealthy for so long. 0: never. It is good for
	// components without data; of ingesters, an instance that is forgotten takes what it holds out of all
	// answers until it is back.
	ForgetAfter time.Duration
}

// Lifecycler keeps this process in a ring. It is a dskit service: starting it registers the instance and ends
// when it is ACTIVE, stopping it leaves.
type Lifecycler struct {
	services.Service

	m     *Membership
	cfg   LifecyclerConfig
	basic *dsring.BasicLifecycler // while it runs
	since atomic.Int64            // when it became ACTIVE, in nanoseconds; 0: not yet
}

// heardAfter is how long others may take to hear that an instance is ACTIVE: several rounds of gossip.
const heardAfter = time.Second

// Lifecycler makes what keeps this process in a ring.
func (m *Membership) Lifecycler(cfg LifecyclerConfig) (*Lifecycler, error) {
	cfg.Tokens = cmp.Or(cfg.Tokens, 128)
	if cfg.ObservePeriod == 0 && m.cfg.Store == Memberlist {
		cfg.ObservePeriod = time.Second
	}
	cfg.ObservePeriod = max(cfg.ObservePeriod, 0)
	if m.cfg.Store == InMemory {
		cfg.ObservePeriod = 0
	}
	var errs []error
	if cfg.Name == "" {
		errs = append(errs, errors.New("Name is empty"))
	}
	if cfg.Tokens < 0 || cfg.FinalSleep < 0 || cfg.ForgetAfter < 0 {
		errs = append(errs, errors.New("Tokens, FinalSleep or ForgetAfter is negative"))
	}
	if cfg.ForgetAfter > 0 && cfg.ForgetAfter <= m.cfg.HeartbeatTimeout {
		errs = append(errs, fmt.Errorf("ForgetAfter %s must be longer than HeartbeatTimeout %s", cfg.ForgetAfter, m.cfg.HeartbeatTimeout))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("ring: lifecycler of %q: %w", cfg.Name, err)
	}
	l := &Lifecycler{m: m, cfg: cfg}
	basic, err := dsring.NewBasicLifecycler(dsring.BasicLifecyclerConfig{
		ID:                              m.cfg.InstanceID,
		Addr:                            m.Addr(),
		Zone:                            m.cfg.Zone,
		HeartbeatPeriod:                 m.cfg.HeartbeatPeriod,
		HeartbeatTimeout:                m.cfg.HeartbeatTimeout,
		TokensObservePeriod:             cfg.ObservePeriod,
		NumTokens:                       cfg.Tokens,
		KeepInstanceInTheRingOnShutdown: cfg.KeepOnShutdown,
	}, cfg.Name, key(cfg.Name), lateStore{m}, l.delegate(), log.With(m.kitlog, "ring", cfg.Name), prefixed(m.reg, "loki_"))
	if err != nil {
		return nil, fmt.Errorf("ring: lifecycler of %q: %w", cfg.Name, err)
	}
	l.basic = basic
	l.Service = services.NewBasicService(l.starting, l.running, l.stopping).WithName("lifecycler of " + cfg.Name)
	return l, nil
}

func (l *Lifecycler) delegate() dsring.BasicLifecyclerDelegate {
	var d dsring.BasicLifecyclerDelegate = dsring.NewInstanceRegisterDelegate(dsring.JOINING, l.cfg.Tokens)
	d = dsring.NewTokensPersistencyDelegate(l.cfg.TokensFile, dsring.JOINING, d, l.m.kitlog)
	d = &leaving{BasicLifecyclerDelegate: d, l: l}
	d = dsring.NewLeaveOnStoppingDelegate(d, l.m.kitlog)
	return &delegate{BasicLifecyclerDelegate: d, l: l}
}

func (l *Lifecycler) starting(ctx context.Context) error {
	if l.cfg.TokensFile != "" {
		if err := os.MkdirAll(filepath.Dir(l.cfg.TokensFile), 0o777); err != nil {
			return fmt.Errorf("ring: folder of the tokens: %w", err)
		}
	}
	if err := startInner(ctx, l.basic); err != nil {
		return fmt.Errorf("ring: join ring %q: %w", l.cfg.Name, err)
	}
	if err := l.basic.ChangeState(ctx, dsring.ACTIVE); err != nil {
		return errors.Join(fmt.Errorf("ring: join ring %q: %w", l.cfg.Name, err),
			services.StopAndAwaitTerminated(context.WithoutCancel(ctx), l.basic))
	}
	l.since.Store(time.Now().UnixNano())
	l.m.logger.Info("instance is ACTIVE", "ring", l.cfg.Name, "instance", l.ID(), "address", l.m.Addr())
	return nil
}

func (l *Lifecycler) running(ctx context.Context) error {
	failed := make(chan error, 1)
	stop := l.basic.AddListener(services.NewListener(nil, nil, nil, nil, func(_ services.State, err error) { failed <- err }))
	defer stop()
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

func (l *Lifecycler) stopping(error) error {
	return services.StopAndAwaitTerminated(context.Background(), l.basic)
}

// Ready returns nil when the instance is ACTIVE and others have had the time to hear of it: whoever restarts one
// after the other should wait for that before the next one. Until then it says what it waits for.
func (l *Lifecycler) Ready() error {
	since := l.since.Load()
	switch {
	case since == 0:
		return fmt.Errorf("ring %s: not ACTIVE yet", l.cfg.Name)
	case l.m.cfg.Store == Memberlist && time.Since(time.Unix(0, since)) < heardAfter:
		return fmt.Errorf("ring %s: not all have heard yet that this instance is ACTIVE", l.cfg.Name)
	}
	return nil
}

// ID is the instance's name in the ring.
func (l *Lifecycler) ID() string { return l.m.cfg.InstanceID }

// InstanceState is the state of this instance.
func (l *Lifecycler) InstanceState() member.State {
	switch l.basic.GetState() {
	case dsring.JOINING:
		return member.Joining
	case dsring.ACTIVE:
		return member.Active
	case dsring.LEAVING:
		return member.Leaving
	}
	return member.Pending
}

// Keep tells whether the instance stays in the ring when it stops.
func (l *Lifecycler) Keep() bool { return l.basic.ShouldKeepInstanceInTheRingOnShutdown() }

// SetKeep decides whether the instance stays in the ring when it stops: not when it goes for good and its data
// are elsewhere by then.
func (l *Lifecycler) SetKeep(keep bool) { l.basic.SetKeepInstanceInTheRingOnShutdown(keep) }

// delegate does what we do at the turns of an instance's life.
type delegate struct {
	dsring.BasicLifecyclerDelegate
	l *Lifecycler
}

// OnRingInstanceRegister implements dsring.BasicLifecyclerDelegate.
func (d *delegate) OnRingInstanceRegister(b *dsring.BasicLifecycler, ring dsring.Desc, exists bool, id string, i dsring.InstanceDesc) (dsring.InstanceState, dsring.Tokens) {
	if exists && i.Addr != b.GetInstanceAddr() && i.State != dsring.LEAVING &&
		time.Since(time.Unix(i.Timestamp, 0)) < 2*d.l.m.cfg.HeartbeatPeriod {
		d.l.m.logger.Warn("an instance of the same name was alive at another address until just now; names must be unique",
			"ring", d.l.cfg.Name, "instance", id, "its_address", i.Addr, "our_address", b.GetInstanceAddr())
	}
	if n := d.l.cfg.Tokens; exists && len(i.Tokens) > n {
		i.Tokens = i.Tokens[:n] // it was configured to have more
	}
	return d.BasicLifecyclerDelegate.OnRingInstanceRegister(b, ring, exists, id, i)
}

// OnRingInstanceStopping implements dsring.BasicLifecyclerDelegate. It marks the instance as LEAVING. dskit would
// do so too, but in gossip a change counts only if its time, in whole seconds, is later than that of the last
// one, and of two that come once a second it may lose each time.
func (d *delegate) OnRingInstanceStopping(b *dsring.BasicLifecycler) {
	err := lateStore{d.l.m}.CAS(context.Background(), key(d.l.cfg.Name), func(in any) (any, bool, error) {
		ring := dsring.GetOrCreateRingDesc(in)
		i, ok := ring.Ingesters[d.l.ID()]
		if !ok {
			return nil, false, nil // somebody has removed it
		}
		i.State = dsring.LEAVING
		i.Timestamp = max(time.Now().Unix(), i.Timestamp+1)
		ring.Ingesters[d.l.ID()] = i
		return ring, true, nil
	})
	if err != nil {
		d.l.m.logger.Error("others do not know that the instance is leaving", "ring", d.l.cfg.Name, "err", err)
	}
	d.BasicLifecyclerDelegate.OnRingInstanceStopping(b)
}

// OnRingInstanceHeartbeat implements dsring.BasicLifecyclerDelegate.
func (d *delegate) OnRingInstanceHeartbeat(b *dsring.BasicLifecycler, ring *dsring.Desc, i *dsring.InstanceDesc) {
	if after := d.l.cfg.ForgetAfter; after > 0 {
		unhealthy, old := 0, []string(nil)
		for id, o := range ring.Ingesters {
			age := time.Since(time.Unix(o.Timestamp, 0))
			if age > d.l.m.cfg.HeartbeatTimeout {
				unhealthy++
			}
			if age > after && id != d.l.ID() {
				old = append(old, id)
			}
		}
		// Who hears of nobody else while several are away is probably cut off itself.
		if healthy := len(ring.Ingesters) - unhealthy; healthy >= 2 || unhealthy < 2 {
			for _, id := range old {
				d.l.m.logger.Warn("forgetting an instance that was away for long", "ring", d.l.cfg.Name, "instance", id,
					"address", ring.Ingesters[id].Addr, "after", after)
				ring.RemoveIngester(id)
			}
		}
	}
	d.BasicLifecyclerDelegate.OnRingInstanceHeartbeat(b, ring, i)
}

// leaving is what is done while the instance is LEAVING. Heartbeats go on meanwhile.
type leaving struct {
	dsring.BasicLifecyclerDelegate
	l *Lifecycler
}

// OnRingInstanceStopping implements dsring.BasicLifecyclerDelegate.
func (d *leaving) OnRingInstanceStopping(b *dsring.BasicLifecycler) {
	l := d.l
	if l.cfg.BeforeLeave != nil && !l.Keep() {
		if err := l.cfg.BeforeLeave(context.Background()); err != nil {
			l.m.logger.Error("the instance stays in the ring, since it could not leave in order", "ring", l.cfg.Name, "err", err)
			l.SetKeep(true)
		}
	}
	if l.cfg.FinalSleep > 0 {
		t := time.NewTimer(l.cfg.FinalSleep)
		defer t.Stop()
		<-t.C
	}
	d.BasicLifecyclerDelegate.OnRingInstanceStopping(b)
}
