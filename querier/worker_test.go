package querier

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
)

// deaf is a connection to nobody.
type deaf struct{ grpc.ClientConnInterface }

func (deaf) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, errors.New("certificate signed by unknown authority")
}

// TestNoScheduler: a querier that can't reach its scheduler says so, but not with each try.
func TestNoScheduler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		w, err := NewWorker(WorkerConfig{}, deaf{}, nil, slog.New(slog.NewTextHandler(&b, nil)))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := w.running(ctx); err != nil {
			t.Fatal(err)
		}
		text := b.String()
		if strings.Count(text, "level=WARN") != 1 || !strings.Contains(text, "no connection to the query scheduler") || !strings.Contains(text, "unknown authority") {
			t.Errorf("a minute without a scheduler is logged as %q", text)
		}
	})
}
