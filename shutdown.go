package loki

import (
	"context"
	"fmt"

	"github.com/grafana/dskit/services"

	"example.com/loki/ingester/handover"
)

// newHandover makes what passes on the lines of this process's ingester.
func (e *Engine) newHandover() {
	if !e.plan.targets[Ingester] {
		return
	}
	cfg := handover.Config{Dir: e.cfg.Dir, Log: e.cfg.logDir(), Refresh: e.cfg.Store.RefreshInterval, Terminate: e.cfg.Terminate}
	if t, ok := e.cfg.Cluster.Membership.(interface{ DeleteTokens() error }); ok {
		cfg.DeleteTokens = t.DeleteTokens
	}
	e.retire = handover.New(cfg, e.heads(), e.cfg.Logger)
	if p, ok := e.members[Ingester].(handover.Place); ok {
		e.retire.SetPlace(p, func(ctx context.Context) error {
			return services.StopAndAwaitTerminated(ctx, e.lives[ingesterMember])
		})
	}
}

// ShutdownIngester makes the ingester of this process go for good: it writes all that it holds into segments and
// leaves the ring. From then on the engine is not ready and refuses all calls; it should be closed. If the lines
// can't be written ShutdownIngester returns why, and nothing has changed, unless the store fails just then: then the
// ingester is still in the ring, as one that is LEAVING.
//
// With flush false the lines stay in the write-ahead log, and the ingester stays on the ring as one that is
// away. deleteTokens makes it take new places on the ring at the next start.
func (e *Engine) ShutdownIngester(ctx context.Context, flush, deleteTokens bool) error {
	if e.retire == nil {
		return notHere(Ingester)
	}
	if e.retire.Gone() != nil {
		return nil
	}
	ctx, done, err := e.enterWrite(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := e.retire.Shutdown(ctx, flush, deleteTokens); err != nil {
		return fmt.Errorf("loki: %w", err)
	}
	return nil
}
