package ingester

import (
	"fmt"
	"sync"
	"time"

	"example.com/loki/ingester/internal/logfile"
)

// gate lets pushes in while the ingester runs.
type gate struct {
	mu     sync.RWMutex
	isOpen bool
	closed chan struct{}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.isOpen = true
}

// close keeps out what comes later and calls f when all that was inside has left.
func (g *gate) close(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isOpen {
		g.isOpen = false
		close(g.closed)
		f()
	}
}

// commit hands a push to the committer. An error means that the committer does not have it.
func (i *Ingester) commit(p *pendingPush) error {
	i.metrics.walBytes.Add(float64(p.mem))
	i.gate.mu.RLock()
	if i.gate.isOpen {
		// The committer receives until the gate is closed, so this ends.
		i.queue <- p
		i.gate.mu.RUnlock()
		return nil
	}
	i.gate.mu.RUnlock()
	i.refuse(p)
	return i.Ready()
}

// refuse takes back what join and encode did.
func (i *Ingester) refuse(p *pendingPush) {
	p.tenant.mu.Lock()
	p.tenant.leave(p.part)
	p.tenant.mu.Unlock()
	i.addMemory(-p.mem)
	i.metrics.walBytes.Add(-float64(p.mem))
}

// committer owns the write-ahead log while the ingester runs.
type committer struct {
	*Ingester
	log *logfile.Log

	batch   []*pendingPush
	records [][]byte
	shared  shared

	failed   error     // of the last commit
	nextTry  time.Time // before that, commits are refused with failed
	unsynced bool
}

const (
	maxBatch      = 1024     // pushes in one commit
	maxBatchBytes = 32 << 20 // payload in one commit
)

// run commits pushes until the queue is closed.
func (c *committer) run() {
	var tick <-chan time.Time
	if c.cfg.Sync == SyncInterval {
		t := time.NewTicker(c.cfg.SyncEvery)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case p, ok := <-c.queue:
			if !ok {
				return
			}
			c.collect(p)
			c.commitBatch()
		case <-c.truncate:
			c.removeFiles()
		case <-tick:
			c.sync()
		}
	}
}

// collect fills the batch with the push and what waits behind it.
func (c *committer) collect(p *pendingPush) {
	c.batch = append(c.batch[:0], p)
	bytes := p.mem
	for len(c.batch) < maxBatch && bytes < maxBatchBytes {
		select {
		case p, ok := <-c.queue:
			if !ok {
				return
			}
			c.batch = append(c.batch, p)
			bytes += p.mem
		default:
			return
		}
	}
}

func (c *committer) commitBatch() {
	began := time.Now()
	file, err := c.write()
	if err != nil {
		for _, p := range c.batch {
			c.refuse(p)
			p.done <- err
		}
	} else {
		now := c.cfg.Now()
		for _, p := range c.batch {
			c.apply(p, file, now)
			p.done <- nil
		}
		c.metrics.commitPushes.Observe(float64(len(c.batch)))
		c.metrics.commitSeconds.Observe(time.Since(began).Seconds())
	}
	clear(c.batch)
}

// write writes the batch to the log and returns the file it is in.
func (c *committer) write() (int, error) {
	if c.failed != nil && c.cfg.Now().Before(c.nextTry) {
		return 0, c.refusal()
	}
	c.encode()
	file, err := c.append()
	if isDiskFull(err) && c.removeFiles() {
		file, err = c.append()
	}
	if err == nil {
		c.metrics.walRecords.Add(float64(len(c.records)))
	}
	clear(c.records)
	c.walFile.Store(c.nextFile())
	c.noteSize()
	if err != nil {
		if c.failed == nil {
			c.logger.Error("write-ahead log cannot be written, pushes are refused", "dir", c.cfg.Dir, "err", err)
		}
		c.metrics.walWriteFailures.Inc()
		c.failed = err
		c.nextTry = c.cfg.Now().Add(c.cfg.RetryWrite)
		if isDiskFull(err) {
			c.needRoom.Store(true)
			c.cutter.wake()
		}
		return 0, c.refusal()
	}
	if c.failed != nil {
		c.logger.Info("write-ahead log can be written again", "dir", c.cfg.Dir)
		c.failed = nil
	}
	c.unsynced = c.cfg.Sync != SyncAlways
	return file, nil
}

// nextFile is the log file that the next commit goes to.
func (c *committer) nextFile() int64 {
	n := int64(c.log.Index())
	if c.log.CurrentSize() >= c.cfg.WALFileSize {
		n++
	}
	return n
}

// append writes the records to the log and returns the file they are in.
func (c *committer) append() (int, error) {
	if c.log.CurrentSize() >= c.cfg.WALFileSize {
		if err := c.log.Roll(); err != nil {
			return 0, err
		}
	}
	file, before := c.log.Index(), c.log.CurrentSize()
	if err := c.log.Append(c.cfg.Sync == SyncAlways, c.records...); err != nil {
		return 0, err
	}
	c.metrics.walLogged.Add(float64(c.log.CurrentSize() - before))
	return file, nil
}

// refusal is the error for pushes that could not be written.
func (c *committer) refusal() error {
	if isDiskFull(c.failed) {
		c.metrics.walDiskFull.Add(float64(len(c.batch)))
		return fmt.Errorf("%w: %w", ErrDiskFull, c.failed)
	}
	return fmt.Errorf("%w: %w", ErrWriteLog, c.failed)
}

// encode collects the records of the batch in its order. Small pushes share records.
func (c *committer) encode() {
	c.records = c.records[:0]
	for _, p := range c.batch {
		for _, ch := range p.chunks {
			if ch.record == nil {
				c.shared.add(p, ch.payload)
				if len(c.shared.payload) >= maxShared {
					c.flushShared()
				}
				continue
			}
			c.flushShared()
			c.records = append(c.records, ch.record)
		}
	}
	c.flushShared()
}

func (c *committer) flushShared() {
	if len(c.shared.parts) > 0 {
		c.records = append(c.records, c.codec.appendRecord(nil, c.shared.parts, c.shared.payload))
		c.shared.reset()
	}
}

const maxShared = 256 << 10

// shared is a record of several small pushes in the making.
type shared struct {
	parts   []partName
	payload []byte
}

func (s *shared) reset() { s.parts, s.payload = s.parts[:0], s.payload[:0] }

func (s *shared) add(p *pendingPush, payload []byte) {
	n := 0
	for n < len(s.parts) && s.parts[n].id != p.part.id {
		n++
	}
	if n == len(s.parts) {
		s.parts = append(s.parts, partName{p.part.id, p.tenant.id})
	}
	s.payload = appendPartSection(s.payload, n)
	s.payload = append(s.payload, payload[partSectionSize:]...)
}

// apply makes a push that is in the log readable.
func (c *committer) apply(p *pendingPush, file int, now time.Time) {
	t, pt := p.tenant, p.part
	rows, lines := 0, int64(0)
	t.mu.Lock()
	before := pt.mem
	for _, ch := range p.chunks {
		pt.append(ch.payload, &ch.entries, true)
		for _, sp := range ch.entries.spans {
			if sp.define {
				sp.stream.file = max(sp.stream.file, int32(file))
			}
		}
		for _, m := range ch.names {
			m.file.Store(int64(file) + 1)
		}
		rows += len(ch.entries.rows)
		lines += int64(ch.entries.linesHi - ch.entries.linesLo)
	}
	if pt.firstFile < 0 {
		pt.firstFile = file
	}
	pt.lastPush = now
	grown := pt.mem - before
	if len(t.tailers) > 0 {
		t.offer(p, now)
	}
	var cut *part
	if !pt.sealed && pt.lineBytes >= c.cfg.SegmentTarget {
		cut = t.seal(reasonSize)
	}
	t.leave(pt)
	t.mu.Unlock()

	if cut != nil {
		c.cutter.add(t, cut)
	}
	c.addMemory(grown - p.mem)
	c.metrics.walBytes.Add(-float64(p.mem))
	c.metrics.entries.Add(float64(rows))
	c.metrics.bytes.Add(float64(lines))
}

// sync makes durable what pushes with SyncInterval have written.
func (c *committer) sync() {
	if !c.unsynced {
		return
	}
	c.unsynced = false
	if err := c.log.Sync(); err != nil {
		c.metrics.walWriteFailures.Inc()
		c.logger.Error("write-ahead log cannot be synced: a crash of the machine would lose entries that are not yet in the store",
			"dir", c.cfg.Dir, "err", err)
		c.walFile.Store(int64(c.log.Index()))
	}
}

// removeFiles deletes log files that no part in memory needs, and tells whether there were any.
func (c *committer) removeFiles() bool {
	before := c.log.Size()
	keep := c.log.Index()
	needed := false
	for _, t := range c.allTenants() {
		t.mu.RLock()
		for _, p := range t.parts() {
			if p.firstFile >= 0 {
				keep, needed = min(keep, p.firstFile), true
			}
		}
		t.mu.RUnlock()
	}
	if !needed {
		// Not even the current file: all that it says is in the store.
		if err := c.log.Roll(); err != nil {
			c.logger.Warn("log file that is no longer needed cannot be closed", "err", err)
		}
		keep = c.log.Index()
		c.walFile.Store(int64(keep))
	}
	if err := c.log.Remove(keep); err != nil {
		c.logger.Warn("log file that is no longer needed cannot be deleted", "err", err)
	}
	c.noteSize()
	return c.log.Size() < before
}

func (c *committer) noteSize() {
	size := c.log.Size()
	c.metrics.walSize.Set(float64(size))
	if c.walSize.Swap(size) <= c.cfg.WALTarget && size > c.cfg.WALTarget {
		c.cutter.wake()
	}
}

// close leaves the log in order.
func (c *committer) close() error {
	c.removeFiles()
	if err := c.log.Close(); err != nil {
		return fmt.Errorf("close write-ahead log: %w", err)
	}
	return nil
}

// notifier wakes all who wait.
type notifier struct {
	mu sync.Mutex
	ch chan struct{}
}

// wait returns a channel that the next broadcast closes.
func (n *notifier) wait() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch == nil {
		n.ch = make(chan struct{})
	}
	return n.ch
}

func (n *notifier) broadcast() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch != nil {
		close(n.ch)
		n.ch = nil
	}
}
