package scheduler

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"example.com/loki/internal/wire"
	"example.com/loki/logql"
)

// NewPatientClient is NewClient for a connection to schedulers that may be restarted: a task is given out again when
// the one that had it goes away, or when none is there, for up to five seconds.
func NewPatientClient(conn grpc.ClientConnInterface) Service { return patient{NewClient(conn)} }

// patient repeats what fails because nobody is there.
type patient struct {
	Service
}

const (
	askAgain    = 100 * time.Millisecond // after which pause
	askAgainFor = 5 * time.Second        // how long
)

// Run implements Service.
func (f patient) Run(ctx context.Context, t *logql.Task) (*logql.Partial, error) {
	for began := time.Now(); ; {
		p, err := f.Service.Run(ctx, t)
		if !wire.IsUnavailable(err) || time.Since(began) > askAgainFor {
			return p, err
		}
		pause := time.NewTimer(askAgain)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return nil, err
		}
	}
}
