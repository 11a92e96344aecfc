package indexgw_test

import (
	"context"
	"errors"
	"iter"
	"testing"

	"github.com/grafana/dskit/services"
	"github.com/grafana/dskit/user"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/goleak"

	"example.com/loki/indexgw"
	"example.com/loki/indexgw/indexgwtest"
	"example.com/loki/logql"
	"example.com/loki/logql/column"
	"example.com/loki/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memoryStore is a store whose index part is that of the fake.
type memoryStore struct {
	indexgwtest.Fake
}

var _ store.Service = (*memoryStore)(nil)

func (*memoryStore) Select(context.Context, *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	return func(func(*column.Batch, error) bool) {}
}

func (*memoryStore) Put(context.Context, ulid.ULID, store.Rows) (store.SegmentInfo, error) {
	return store.SegmentInfo{}, errors.ErrUnsupported
}

func (*memoryStore) Exists(context.Context, ulid.ULID) (bool, error) { return false, nil }

func TestGateway(t *testing.T) {
	indexgwtest.Contract(t, func(t *testing.T, segments []indexgwtest.Segment) indexgw.Service {
		g, err := indexgw.New(indexgw.Config{}, &memoryStore{Fake: indexgwtest.Fake{Segs: segments}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := services.StartAndAwaitRunning(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := services.StopAndAwaitTerminated(context.Background(), g); err != nil {
				t.Error(err)
			}
		})
		return g
	})
}

func TestFake(t *testing.T) {
	indexgwtest.Contract(t, func(_ *testing.T, segments []indexgwtest.Segment) indexgw.Service {
		return &indexgwtest.Fake{Segs: segments}
	})
}

// brokenStore fails whatever it is asked.
type brokenStore struct{ memoryStore }

var errDisk = errors.New("disk on fire")

func (brokenStore) Labels(context.Context, int64, int64, []*labels.Matcher) ([]string, error) {
	return nil, errDisk
}

func (brokenStore) Segments(context.Context, int64, int64) ([]store.SegmentInfo, error) {
	return nil, errDisk
}

func TestErrorsKeepTheirCause(t *testing.T) {
	g, err := indexgw.New(indexgw.Config{}, &brokenStore{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := user.InjectOrgID(t.Context(), "a")
	if _, err := g.Labels(ctx, 0, 1, nil); !errors.Is(err, errDisk) {
		t.Errorf("Labels = %v, want %v", err, errDisk)
	}
	if _, err := g.Segments(ctx, 0, 1); !errors.Is(err, errDisk) {
		t.Errorf("Segments = %v, want %v", err, errDisk)
	}
}
