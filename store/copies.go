package store

import (
	"cmp"
	"container/list"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// copies keeps the ends of segments, from their streams on, in files: all that it takes to open a segment without
// asking the bucket. A file is the bytes of the object, so that every byte of it lies under the object's own
// checksums, and whatever is missing or damaged is read from the bucket again. They are bounded by bytes; the
// ones that were opened longest ago go first. A nil *copies keeps none.
type copies struct {
	dir     string
	limit   int64
	wants   func(tenant string) bool // nil: all
	log     *slog.Logger
	metrics *metrics

	mu    sync.Mutex
	files map[copyName]*list.Element // of *copyFile
	lru   *list.List                 // opened last first
	used  int64
	full  bool // the last file could not be written
}

// copyName names a copy: that of a segment of a tenant.
type copyName struct {
	tenant string
	id     ulid.ULID
}

type copyFile struct {
	name copyName
	size int64
}

// newCopies returns copies in a folder, nil without one.
func newCopies(cfg Config, log *slog.Logger, m *metrics) *copies {
	if cfg.IndexDir == "" {
		return nil
	}
	return &copies{
		dir: cfg.IndexDir, limit: cfg.IndexDirBytes, wants: cfg.KeepIndexes, log: log, metrics: m,
		files: map[copyName]*list.Element{}, lru: list.New(),
	}
}

// tempSuffix marks files that are being written. They are found only if that was interrupted.
const tempSuffix = ".tmp"

// open finds what is there.
func (c *copies) open() error {
	if c == nil {
		return nil
	}
	if err := os.MkdirAll(c.dir, 0o750); err != nil {
		return fmt.Errorf("store: folder for copies of indexes: %w", err)
	}
	type found struct {
		copyFile
		opened time.Time
	}
	var all []found
	err := filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return ignoreMissing(err)
		}
		if strings.HasSuffix(path, tempSuffix) {
			return ignoreMissing(os.Remove(path))
		}
		tenant, ok := unescapeTenant(filepath.Base(filepath.Dir(path)))
		id, err := ulid.ParseStrict(d.Name())
		if !ok || err != nil {
			return nil // not ours
		}
		info, err := d.Info()
		if err != nil {
			return ignoreMissing(err)
		}
		all = append(all, found{copyFile{copyName{tenant, id}, info.Size()}, info.ModTime()})
		return nil
	})
	if err != nil {
		return fmt.Errorf("store: folder for copies of indexes: %w", err)
	}
	slices.SortFunc(all, func(a, b found) int { return cmp.Or(a.opened.Compare(b.opened), a.name.id.Compare(b.name.id)) })
	for i := range all {
		c.enter(all[i].name, all[i].size)
	}
	return nil
}

func (c *copies) path(n copyName) string {
	return filepath.Join(c.dir, escapeTenant(n.tenant), n.id.String())
}

// get returns the end of a segment, nil if there is no copy of it. The copy counts as opened now, also for those
// who find it after a restart.
func (c *copies) get(n copyName) []byte {
	if c == nil {
		return nil
	}
	data, err := os.ReadFile(c.path(n))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.log.Warn("copy of an index can't be read", "file", c.path(n), "err", err)
		}
		c.forget(n)
		return nil
	}
	c.mu.Lock()
	if e, ok := c.files[n]; ok {
		c.lru.MoveToFront(e)
	}
	c.mu.Unlock()
	now := time.Now()
	_ = os.Chtimes(c.path(n), now, now) // at worst it goes earlier than others
	return data
}

// keep is put for what nobody has asked for yet, if it is wanted.
func (c *copies) keep(n copyName, end []byte) {
	if c != nil && (c.wants == nil || c.wants(n.tenant)) {
		c.put(n, end)
	}
}

// put makes a copy. One that can't be written is done without.
func (c *copies) put(n copyName, end []byte) {
	if c == nil || int64(len(end)) > c.limit {
		return
	}
	err := c.write(c.path(n), end)
	c.mu.Lock()
	first := err != nil && !c.full
	c.full = err != nil
	c.mu.Unlock()
	if first {
		c.log.Warn("copies of indexes can't be written; going on without new ones", "err", err)
	}
	if err == nil {
		c.enter(n, int64(len(end)))
	}
}

// write puts a file in place as a whole. It needs no sync: checksums show what a power failure leaves.
func (c *copies) write(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "*"+tempSuffix)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // open removes it too
	}
	return err
}

// enter counts a file as opened last, and removes others that there is no room for.
func (c *copies) enter(n copyName, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unlink(n)
	c.files[n] = c.lru.PushFront(&copyFile{n, size})
	c.used += size
	for c.used > c.limit {
		c.delete(c.lru.Back().Value.(*copyFile).name)
	}
	c.metrics.copiedBytes.Set(float64(c.used))
}

// forget counts a file as gone.
func (c *copies) forget(n copyName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unlink(n)
	c.metrics.copiedBytes.Set(float64(c.used))
}

// unlink takes a file out of the list. It needs c.mu.
func (c *copies) unlink(n copyName) {
	if e, ok := c.files[n]; ok {
		c.used -= c.lru.Remove(e).(*copyFile).size
		delete(c.files, n)
	}
}

// delete removes a file. It needs c.mu.
func (c *copies) delete(n copyName) {
	c.unlink(n)
	if err := ignoreMissing(os.Remove(c.path(n))); err != nil {
		c.log.Warn("copy of an index can't be removed", "err", err)
	}
	_ = os.Remove(filepath.Dir(c.path(n))) // fails unless it is empty
}

// remove removes the copy of a segment.
func (c *copies) remove(n copyName) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delete(n)
	c.metrics.copiedBytes.Set(float64(c.used))
}

// retain removes the copies of segments that are not there any more.
func (c *copies) retain(there func(copyName) bool) {
	if c == nil {
		return
	}
	c.mu.Lock()
	var names []copyName
	for n := range c.files {
		names = append(names, n)
	}
	c.mu.Unlock()
	for _, n := range names {
		if !there(n) {
			c.remove(n)
		}
	}
}
