package compactor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/grafana/dskit/user"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/thanos-io/objstore"

	"example.com/loki/limits"
	"example.com/loki/logql"
	"example.com/loki/store"
	"example.com/loki/store/storetest"
)

// bench is a store and a compactor with a clock that the test moves.
type bench struct {
	t      *testing.T
	bucket *objstore.InMemBucket
	store  *store.Store
	comp   *Compactor
	limits limits.Limits
	now    time.Time
	parts  int
}

func newBench(t *testing.T, change func(*Config)) *bench {
	b := &bench{t: t, bucket: objstore.NewInMemBucket(), now: time.Now().Truncate(24 * time.Hour).Add(36 * time.Hour)}
	var err error
	if b.store, err = store.New(store.Config{RefreshInterval: -1}, b.bucket, nil, nil); err != nil {
		t.Fatal(err)
	}
	start(t, b.store)
	t.Cleanup(func() { stop(t, b.store) })
	cfg := Config{
		Interval: -1, MinAge: -1, DeleteDelay: -1, BytesPerSecond: -1, CancelPeriod: -1, Now: func() time.Time { return b.now },
		Flush: func(context.Context, string) error { return nil },
	}
	if change != nil {
		change(&cfg)
	}
	if b.comp, err = New(cfg, b.store, b.bucket, func(string) *limits.Limits { return &b.limits }, nil, nil); err != nil {
		t.Fatal(err)
	}
	start(t, b.comp)
	t.Cleanup(func() { stop(t, b.comp) })
	return b
}

// put stores a segment with a row a minute for each app, ending some time ago.
func (b *bench) put(rows int, ago time.Duration, apps ...string) ulid.ULID {
	b.t.Helper()
	b.parts++
	var entries []storetest.Entry
	for _, app := range apps {
		for i := range rows {
			entries = append(entries, storetest.Entry{
				Labels: labels.FromStrings("app", app), Time: b.now.Add(-ago - time.Duration(i)*time.Minute).UnixNano(),
				Line: fmt.Sprintf("row %d of part %d", i, b.parts), Metadata: labels.FromStrings("n", fmt.Sprint(i%2)),
			})
		}
	}
	id := ulid.ULID{14: byte(b.parts >> 8), 15: byte(b.parts)}
	if err := id.SetTime(uint64(b.now.Add(-ago).UnixMilli())); err != nil {
		b.t.Fatal(err)
	}
	storetest.Put(b.t, tenant(), b.store, id, entries)
	return id
}

func (b *bench) run() {
	b.t.Helper()
	if err := b.comp.Run(context.Background()); err != nil {
		b.t.Fatal(err)
	}
}

// rows returns how many rows of an app a query sees.
func (b *bench) rows(app string) int {
	b.t.Helper()
	all, err := entries(FilterDeleted(tenant(), b.store, b.comp))
	if err != nil {
		b.t.Fatal(err)
	}
	n := 0
	for _, e := range all {
		if strings.Contains(e, fmt.Sprintf("app=%q", app)) {
			n++
		}
	}
	return n
}

func TestRetentionPeriod(t *testing.T) {
	b := newBench(t, nil)
	b.put(10, 50*time.Hour, "a")
	b.put(10, 100*time.Hour, "a")
	b.put(10, time.Hour, "a")
	b.limits.RetentionPeriod = 72 * time.Hour
	plan, err := b.comp.Preview(tenant(), 24*time.Hour)
	if err != nil || len(plan) != 2 || plan[0].At.After(b.now) || plan[1].At.Sub(b.now) != 22*time.Hour || plan[0].Reason != ReasonPeriod {
		t.Errorf("preview: %+v, %v", plan, err)
	}
	b.run()
	if n := b.rows("a"); n != 20 {
		t.Errorf("%d rows are left", n)
	}
	if n := testutil.ToFloat64(b.comp.metrics.dropped.WithLabelValues(ReasonPeriod)); n != 1 {
		t.Errorf("%v segments dropped", n)
	}
}

func TestRetentionStream(t *testing.T) {
	b := newBench(t, nil)
	b.limits.RetentionPeriod = 30 * 24 * time.Hour
	b.limits.RetentionStream = []limits.StreamRetention{
		{Selector: `{app=~"a|b"}`, Priority: 1, Period: 24 * time.Hour},
		{Selector: `{app="b"}`, Priority: 2, Period: 10 * 24 * time.Hour},
	}
	b.put(10, 30*time.Hour, "a", "b", "c")
	b.run()
	if n := b.rows("a"); n != 10 {
		t.Errorf("%d rows of a: the segment was rewritten at once", n)
	}
	b.now = b.now.Add(24 * time.Hour)
	b.run()
	for app, want := range map[string]int{"a": 0, "b": 10, "c": 10} {
		if n := b.rows(app); n != want {
			t.Errorf("%d rows of %s, want %d", n, app, want)
		}
	}
	b.limits.RetentionStream[0].Selector = `{app=`
	if err := b.comp.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "nothing is deleted") {
		t.Errorf("bad selector: %v", err)
	}
}

func TestRetentionSize(t *testing.T) {
	t.Run("tenant", func(t *testing.T) {
		b := newBench(t, nil)
		for i := range 5 {
			b.put(50, time.Duration(10*i)*24*time.Hour, "a")
		}
		var size int64
		held, _ := b.store.Held(tenant())
		for _, s := range held {
			size += s.SizeBytes
		}
		b.limits.RetentionBytes = size / 2
		plan, err := b.comp.Preview(tenant(), time.Hour)
		if err != nil || len(plan) != 3 || plan[0].Reason != ReasonTenant {
			t.Errorf("preview: %v, %v", plan, err)
		}
		b.run()
		if n := b.rows("a"); n != 100 {
			t.Errorf("%d rows are left", n)
		}
	})
	t.Run("disk", func(t *testing.T) {
		used := int64(90)
		b := newBench(t, func(c *Config) {
			c.MaxDiskShare = 0.8
			c.DiskUsage = func() (int64, int64, error) { return used, 100, nil }
		})
		oldest := b.put(50, 20*24*time.Hour, "a")
		b.put(50, 10*24*time.Hour, "a")
		if plan, err := b.comp.Preview(tenant(), 0); err != nil || len(plan) != 1 || plan[0].Segment != oldest || plan[0].Reason != ReasonDisk {
			t.Errorf("preview: %v, %v", plan, err)
		}
		b.run()
		if n := b.rows("a"); n != 50 {
			t.Errorf("%d rows are left", n)
		}
		used = 70
		b.run()
		if n := b.rows("a"); n != 50 {
			t.Errorf("%d rows are left when there is room", n)
		}
	})
	t.Run("several compactors", func(t *testing.T) {
		owner := tenantName
		b := newBench(t, func(c *Config) { c.MaxBytes, c.Owns = 1, func(t string) bool { return t == owner } })
		b.put(50, 20*24*time.Hour, "a")
		newer := b.put(50, 10*24*time.Hour, "a")
		// The tenant of another compactor has as much, some of it older.
		other := user.InjectOrgID(t.Context(), "other")
		var each int64
		held, err := b.store.Held(tenant())
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range held {
			each = s.SizeBytes
			name := store.SegmentPath(tenantName, s.ID)
			if i == 0 {
				storetest.Put(t, other, b.store, s.ID, []storetest.Entry{
					{Labels: labels.FromStrings("app", "a"), Time: b.now.Add(-30 * 24 * time.Hour).UnixNano(), Line: strings.Repeat(name, 100)},
				})
			}
		}
		held, err = b.store.Held(other)
		if err != nil || len(held) != 1 {
			t.Fatal(held, err)
		}
		// With both there is too much: the other's and the older one of ours go.
		b.comp.cfg.MaxBytes = each + each/2
		if plan, err := b.comp.Preview(tenant(), 0); err != nil || len(plan) != 1 || plan[0].Segment == newer {
			t.Errorf("preview: %v, %v", plan, err)
		}
		b.run()
		if n := b.rows("a"); n != 50 {
			t.Errorf("%d rows are left", n)
		}
		if held, err = b.store.Held(other); err != nil || len(held) != 1 || held[0].Replaced {
			t.Errorf("what belongs to the other compactor: %v, %v", held, err)
		}
		owner = "other"
		b.run()
		if held, err = b.store.Held(other); err != nil || len(held) == 1 && !held[0].Replaced && held[0].Rows > 0 {
			t.Errorf("the other compactor: %v, %v", held, err)
		}
	})
	t.Run("all", func(t *testing.T) {
		b := newBench(t, func(c *Config) { c.MaxBytes, c.DryRun = 1, true })
		b.put(50, 20*24*time.Hour, "a")
		b.run()
		if n := b.rows("a"); n != 50 {
			t.Errorf("%d rows are left after a dry run", n)
		}
		if plan, err := b.comp.Preview(tenant(), 0); err != nil || len(plan) != 1 || plan[0].Reason != ReasonBytes {
			t.Errorf("preview: %v, %v", plan, err)
		}
	})
}

// fullBucket takes no object.
type fullBucket struct{ objstore.Bucket }

func (fullBucket) Upload(context.Context, string, io.Reader, ...objstore.ObjectUploadOption) error {
	return fmt.Errorf("write: %w", syscall.ENOSPC)
}

// TestDiskFull frees room where not a byte can be written.
func TestDiskFull(t *testing.T) {
	b := newBench(t, func(c *Config) { c.FanIn, c.DeleteDelay = 2, time.Hour })
	for range 3 {
		b.put(10, 50*time.Hour, "a")
	}
	b.put(10, time.Hour, "b")
	b.run()
	if n := len(b.bucket.Objects()); n != 5 {
		t.Fatalf("%d objects, want 3 parts, what they became, and one more", n)
	}
	full := fullBucket{b.bucket}
	st, err := store.New(store.Config{RefreshInterval: -1}, full, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	start(t, st)
	defer stop(t, st)
	b.limits.RetentionPeriod = 24 * time.Hour
	c, err := New(b.comp.cfg, st, full, func(string) *limits.Limits { return &b.limits }, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	start(t, c)
	defer stop(t, c)
	if err := c.Run(context.Background()); err != nil {
		t.Error(err)
	}
	if n := len(b.bucket.Objects()); n != 1 {
		t.Errorf("%d objects are left", n)
	}
	if err := b.store.Refresh(context.Background()); err != nil || b.rows("a") != 0 || b.rows("b") != 10 {
		t.Errorf("%d rows of a, %d of b; %v", b.rows("a"), b.rows("b"), err)
	}
}

// TestDiskPressed removes what is replaced before its time, and merges nothing, while the disk is nearly full.
func TestDiskPressed(t *testing.T) {
	used := int64(10)
	b := newBench(t, func(c *Config) {
		c.FanIn, c.DeleteDelay = 2, time.Hour
		c.DiskUsage = func() (int64, int64, error) { return used, 1 << 40, nil }
	})
	for range 3 {
		b.put(10, 50*time.Hour, "a")
	}
	b.run()
	if n := len(b.bucket.Objects()); n != 4 {
		t.Fatalf("%d objects, want 3 parts and what they became", n)
	}
	used = 1<<40 - 1<<30
	if !b.comp.crowded() {
		t.Error("a full disk is not noticed")
	}
	for range 3 {
		b.put(10, 30*time.Hour, "b")
	}
	if err := b.comp.makeRoom(context.Background()); err != nil {
		t.Error(err)
	}
	if n := len(b.bucket.Objects()); n != 4 {
		t.Errorf("%d objects, want what the 3 parts became and 3 new ones", n)
	}
	b.run()
	if n := len(b.bucket.Objects()); n != 4 {
		t.Errorf("%d objects: something was merged", n)
	}
	if b.rows("a") != 30 || b.rows("b") != 30 {
		t.Errorf("%d rows of a, %d of b", b.rows("a"), b.rows("b"))
	}
}

// TestRetentionShare gives a tenant a share of the disk.
func TestRetentionShare(t *testing.T) {
	b := newBench(t, nil)
	for i := range 4 {
		b.put(50, time.Duration(10*i)*24*time.Hour, "a")
	}
	var size int64
	held, _ := b.store.Held(tenant())
	for _, s := range held {
		size += s.SizeBytes
	}
	b.comp.cfg.DiskUsage = func() (int64, int64, error) { return size, 10 * size, nil }
	b.limits.RetentionDiskShare = 0.06
	if plan, err := b.comp.Preview(tenant(), time.Hour); err != nil || len(plan) != 2 || plan[0].Reason != ReasonShare {
		t.Errorf("preview: %v, %v", plan, err)
	}
	b.run()
	if n := b.rows("a"); n != 100 {
		t.Errorf("%d rows are left", n)
	}
}

// TestDeletionModes lets requests hide rows without removing them, or do nothing.
func TestDeletionModes(t *testing.T) {
	b := newBench(t, nil)
	b.put(10, 30*time.Hour, "a")
	if _, err := b.comp.Delete(tenant(), `{app="a"}`, 0, b.now.UnixNano()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		mode string
		want int
	}{{limits.DeletionFilterOnly, 0}, {limits.DeletionDisabled, 10}} {
		b.limits.DeletionMode = c.mode
		b.run()
		if n := b.rows("a"); n != c.want {
			t.Errorf("%s: %d rows are seen, want %d", c.mode, n, c.want)
		}
	}
	if _, err := b.comp.Delete(tenant(), `{app="a"}`, 0, b.now.UnixNano()); !errors.Is(err, ErrDisabled) {
		t.Errorf("disabled: %v", err)
	}
	b.limits.DeletionMode = limits.DeletionFull
	b.run()
	b.run()
	list, err := b.comp.Requests(tenant())
	if err != nil || len(list) != 1 || list[0].Status() != "processed" || b.rows("a") != 0 {
		t.Errorf("requests: %+v, %v", list, err)
	}
}

// TestTwoProcesses cancels in one process what another one is about to remove.
func TestTwoProcesses(t *testing.T) {
	b := newBench(t, func(c *Config) { c.CancelPeriod = time.Hour })
	b.put(10, 30*time.Hour, "a")
	other, err := New(b.comp.cfg, b.store, b.bucket, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	start(t, other)
	defer stop(t, other)
	first, err := other.Delete(tenant(), `{app="a"} |= "row 1"`, 0, b.now.UnixNano())
	if err != nil {
		t.Fatal(err)
	}
	second, err := other.Delete(tenant(), `{app="a"} |= "row 2"`, 0, b.now.UnixNano())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.comp.requests.load(context.Background()); err != nil {
		t.Fatal(err)
	}
	// The one that works knows of both, and is told of the cancellation by the bucket alone.
	if err := other.Cancel(tenant(), first.ID, false); err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(2 * time.Hour)
	due := b.comp.dueRequests(tenantName, 0, b.now.UnixNano())
	ps, err := b.comp.begin(tenant(), tenantName, due)
	if err != nil || len(due) != 2 || len(ps) != 1 || ps[0].id != second.ID {
		t.Fatalf("of %d requests that are due %v are to be worked on, %v", len(due), ps, err)
	}
	if err := other.Cancel(tenant(), second.ID, false); !errors.Is(err, ErrTooLate) {
		t.Errorf("cancel what has begun: %v", err)
	}
	if err := other.Cancel(tenant(), second.ID, true); err != nil {
		t.Errorf("with force: %v", err)
	}
	b.run()
	if n := b.rows("a"); n != 10 {
		t.Errorf("%d rows are left, want all 10", n)
	}
	list, err := b.comp.Requests(tenant())
	if err != nil || len(list) != 1 || list[0].ID != second.ID || list[0].Status() != "processed" {
		t.Errorf("requests: %+v, %v", list, err)
	}
	b.now = b.now.Add(b.comp.cfg.KeepRequests + time.Hour)
	b.run()
	if n := len(b.bucket.Objects()); n != 1 {
		t.Errorf("%d objects, want the segment alone", n)
	}
}

// TestFile starts with what the file remembers, without it, and with a damaged one.
func TestFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "deletes.db")
	b := newBench(t, func(c *Config) { c.VerifyEvery = time.Hour })
	b.put(10, 30*time.Hour, "a")
	cfg := b.comp.cfg
	cfg.File = file
	gets := &countingBucket{Bucket: b.bucket}
	life := func(what string, wantGets int64, wantChecked int) {
		t.Helper()
		before := gets.n.Load()
		c, err := New(cfg, b.store, gets, nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		start(t, c)
		defer stop(t, c)
		if n := gets.n.Load() - before; n != wantGets || len(c.checked) != wantChecked {
			t.Errorf("%s: %d requests were read and %d verifications are known, want %d and %d", what, n, len(c.checked), wantGets, wantChecked)
		}
		if what == "new" {
			if _, err := c.Delete(tenant(), `{app="a"} |= "row 1"`, 0, b.now.UnixNano()); err != nil {
				t.Fatal(err)
			}
			// As if it had been written long ago: only then is it known that it is as it was.
			at := time.Now().Add(-time.Hour)
			gets.modified.Store(&at)
		}
		if err := c.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		if n := len(c.Deleted(tenantName)); n != 1 {
			t.Errorf("%s: %d requests in force", what, n)
		}
	}
	cfg.CancelPeriod = time.Hour
	life("new", 0, 0)
	life("known", 0, 1)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	life("damaged", 1, 0)
	life("known again", 0, 1)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	life("deleted", 1, 0)
}

// countingBucket counts objects that are read, and says when they were written.
type countingBucket struct {
	objstore.Bucket
	n        atomic.Int64
	modified atomic.Pointer[time.Time]
}

func (c *countingBucket) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	c.n.Add(1)
	return c.Bucket.Get(ctx, name)
}

func (c *countingBucket) SupportedIterOptions() []objstore.IterOptionType {
	return []objstore.IterOptionType{objstore.Recursive, objstore.UpdatedAt}
}

func (c *countingBucket) IterWithAttributes(ctx context.Context, dir string, f func(objstore.IterObjectAttributes) error, options ...objstore.IterOption) error {
	return c.Bucket.Iter(ctx, dir, func(name string) error {
		a := objstore.IterObjectAttributes{Name: name}
		if at := c.modified.Load(); at != nil {
			a.SetLastModified(*at)
		}
		return f(a)
	}, objstore.WithRecursiveIter())
}

// TestDeleteFlow follows a request from its acceptance to its end.
func TestDeleteFlow(t *testing.T) {
	flushed := 0
	b := newBench(t, func(c *Config) {
		c.CancelPeriod, c.DeleteDelay = 24*time.Hour, time.Hour
		c.Flush = func(context.Context, string) error { flushed++; return nil }
	})
	old := b.put(10, time.Hour, "a", "b")
	if _, err := b.comp.Delete(tenant(), `{app="a"} | n="1" |= "row"`, b.now.Add(-66*time.Minute).UnixNano(), b.now.UnixNano()); err != nil {
		t.Fatal(err)
	}
	status := func() string {
		list, err := b.comp.Requests(tenant())
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		return list[0].Status()
	}
	check := func(want string) {
		t.Helper()
		if s := status(); s != want {
			t.Errorf("status %q, want %q", s, want)
		}
		// Rows 1, 3, 5 are in the range; 7 and 9 are not.
		if a, o := b.rows("a"), b.rows("b"); a != 7 || o != 10 {
			t.Errorf("%d rows of a, %d of b; want 7 and 10", a, o)
		}
	}
	check("received")
	b.run()
	check("received")
	if flushed != 0 {
		t.Error("flushed before the end of the cancel period")
	}
	b.now = b.now.Add(25 * time.Hour)
	b.run()
	check("99% Complete")
	if ok, _ := b.bucket.Exists(context.Background(), store.SegmentPath(tenantName, old)); !ok || flushed != 1 {
		t.Errorf("the object was removed at once, or %d flushes", flushed)
	}
	b.now = b.now.Add(2 * time.Hour)
	b.run()
	check("processed")
	if ok, _ := b.bucket.Exists(context.Background(), store.SegmentPath(tenantName, old)); ok {
		t.Error("processed, but the object is there")
	}
	if len(b.comp.Deleted(tenantName)) != 0 {
		t.Error("still in force")
	}
	if n := testutil.ToFloat64(b.comp.metrics.deletedLines.WithLabelValues(tenantName)); n != 3 {
		t.Errorf("%v rows deleted", n)
	}
}

// TestFilteredCounts counts rows by statistics where it may and by rows where it must.
func TestFilteredCounts(t *testing.T) {
	b := newBench(t, nil)
	b.put(100, time.Hour, "a", "b")
	if _, err := b.comp.Delete(tenant(), `{app="a"} | n="1"`, b.now.Add(-24*time.Hour).UnixNano(), b.now.UnixNano()); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]float64{
		`sum(count_over_time({app=~"a|b"}[1d]))`:                                    150,
		`sum(count_over_time({app="a"}[1d]))`:                                       50,
		`sum(bytes_over_time({app="a"}[1d])) / sum(bytes_over_time({app="b"}[1d]))`: 0.5,
		`sum(count_over_time({app="a"} | n="1" [1d])) or vector(0)`:                 0,
	} {
		p := logql.Params{Query: query, Start: b.now.UnixNano(), End: b.now.UnixNano()}
		plan, err := logql.NewPlan(p)
		if err != nil {
			t.Fatal(err)
		}
		var partials [][]*logql.Partial
		for leaf := range plan.Leaves {
			part, err := plan.Execute(tenant(), logql.Task{Params: p, Leaf: leaf, Through: 1 << 62}, FilterDeleted(tenant(), b.store, b.comp), logql.Options{})
			if err != nil {
				t.Fatal(err)
			}
			partials = append(partials, []*logql.Partial{part})
		}
		res, err := plan.Finish(tenant(), partials, logql.Options{})
		if err != nil || len(res.Series) != 1 {
			t.Errorf("%s: %v, %v", query, res, err)
			continue
		}
		if got := res.Series[0].Points[0].Value; got < want-0.01 || got > want+0.01 {
			t.Errorf("%s = %v, want %v", query, got, want)
		}
	}
}

// TestVerify finds a damaged segment and says so until it is restored.
func TestVerify(t *testing.T) {
	b := newBench(t, func(c *Config) { c.VerifyEvery = time.Hour })
	id := b.put(100, time.Hour, "a")
	name := store.SegmentPath(tenantName, id)
	rc, err := b.bucket.Get(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	good, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	bad := append([]byte(nil), good...)
	bad[40] ^= 1
	put := func(data []byte) {
		if err := b.bucket.Upload(context.Background(), name, strings.NewReader(string(data))); err != nil {
			t.Fatal(err)
		}
	}
	put(bad)
	b.run()
	if d, err := b.comp.Damaged(tenant()); err != nil || len(d) != 1 || d[0].Segment != id || !errors.Is(d[0].Err, store.ErrCorrupt) {
		t.Errorf("damaged: %v, %v", d, err)
	}
	if d, err := b.comp.Damaged(user.InjectOrgID(context.Background(), "other")); err != nil || len(d) != 0 {
		t.Errorf("another tenant's: %v, %v", d, err)
	}
	report, err := Fsck(context.Background(), b.bucket, FsckOptions{Checksums: true})
	if err != nil || len(report.Problems) != 1 {
		t.Errorf("fsck: %+v, %v", report, err)
	}
	put(good)
	b.now = b.now.Add(2 * time.Hour)
	b.run()
	if d, _ := b.comp.Damaged(tenant()); len(d) != 0 {
		t.Errorf("still damaged: %v", d)
	}
}

// TestMinAge leaves young segments alone, and those of others' tenants.
func TestMinAge(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.MinAge, c.FanIn = 72*time.Hour, 2
		c.Owns = func(tenant string) bool { return tenant == tenantName }
	})
	storetest.Put(t, user.InjectOrgID(context.Background(), "other"), b.store, ulid.ULID{15: 1}, storetest.Generate(1, 3, 3))
	for range 4 {
		b.put(10, 30*time.Hour, "a")
	}
	b.run()
	if held, _ := b.store.Held(tenant()); len(held) != 4 {
		t.Errorf("%d segments, all of them young", len(held))
	}
	b.now = b.now.Add(72 * time.Hour)
	b.limits.RetentionPeriod = time.Hour
	b.run()
	if n := b.rows("a"); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	if held, _ := b.store.Held(user.InjectOrgID(context.Background(), "other")); len(held) != 1 || held[0].Rows == 0 {
		t.Errorf("another's tenant was touched: %v", held)
	}
}

// TestReader sees what another process was asked to delete.
func TestReader(t *testing.T) {
	b := newBench(t, nil)
	if _, err := b.comp.Delete(tenant(), `{app="a"}`, 1, 2); err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(ReaderConfig{Interval: time.Hour}, b.bucket, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	start(t, r)
	defer stop(t, r)
	if ps := r.Deleted(tenantName); len(ps) != 1 {
		t.Errorf("in force: %v", ps)
	}
}

// TestStops cancels a pass that is slowed down.
func TestStops(t *testing.T) {
	b := newBench(t, func(c *Config) { c.BytesPerSecond, c.FanIn, c.VerifyEvery = 1, 2, -1 })
	for range 4 {
		b.put(20_000, 30*time.Hour, "a") // the first MiB is free
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer time.AfterFunc(200*time.Millisecond, cancel).Stop()
	if err := b.comp.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("pass ended with %v", err)
	}
	if n := b.rows("a"); n != 4*20_000 {
		t.Errorf("%d rows", n)
	}
}
