package ingester

import (
	"context"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/grafana/dskit/user"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/ingester/internal/logfile"
)

// Types of damage, as metrics name them.
const (
	damageFile   = "file"   // bytes that are no record
	damageRecord = "record" // a record that cannot be read
)

// replayer builds the parts in memory again from the log.
type replayer struct {
	*Ingester
	ctx   context.Context
	files []logfile.Info
	file  int // the one that is read
	parts map[ulid.ULID]*replayPart

	// last tells where the last record of each part lies; nil until memory runs short.
	last map[ulid.ULID]logPlace

	decoding chan *replayRecord
	waiting  []*replayRecord // read and not applied, oldest first
	spare    []*replayRecord

	// For the record in work.
	rec   []*replayPart
	cur   *replayPart
	alone bool // the record is about one part only

	scratch entries
	rows    int64
	lines   int64
}

// logPlace is a place in the log.
type logPlace struct {
	file int
	end  int64
}

func (p logPlace) before(o logPlace) bool {
	return p.file < o.file || p.file == o.file && p.end < o.end
}

// replayRecord is a record on its way from the log to memory.
type replayRecord struct {
	path  string
	at    logPlace
	size  int64 // of the log up to its end
	parts []*replayPart
	alone bool // it is about one part only

	raw     []byte // a copy of what the log has
	rec     record // refers to raw
	err     error
	payload []byte        // set by a decoder
	decoded chan struct{} // capacity 1: payload and err are set
}

type replayPart struct {
	id      ulid.ULID
	skip    bool // it is a segment
	tenant  *tenant
	part    *part
	streams map[uint32]*stream
	lost    int // rows whose stream is unknown
}

// replay reads the files of the log, oldest first, and returns them as they are then.
func (i *Ingester) replay(ctx context.Context, files []logfile.Info) ([]logfile.Info, error) {
	began := time.Now()
	i.metrics.replayActive.Set(1)
	defer i.metrics.replayActive.Set(0)
	files = slices.Clone(files)
	for _, f := range files {
		i.replayTotal.Add(f.Size)
	}
	r := &replayer{Ingester: i, ctx: ctx, files: files, parts: make(map[ulid.ULID]*replayPart)}
	stop := r.startDecoders()
	defer stop()
	done := int64(0)
	for n := range files {
		if err := r.readFile(n, done); err != nil {
			return nil, err
		}
		done += files[n].Size
	}
	for len(r.waiting) > 0 {
		if err := r.applyNext(); err != nil {
			return nil, err
		}
	}
	i.replayDone.Store(done)
	r.remember()
	r.finish()
	took := time.Since(began)
	i.metrics.replaySeconds.Set(took.Seconds())
	if r.rows > 0 {
		i.logger.Info("write-ahead log replayed", "files", len(files), "bytes", done, "parts", len(r.parts), "entries", r.rows,
			"line_bytes", r.lines, "took", took)
	}
	return files, nil
}

func (r *replayer) readFile(n int, done int64) error {
	f := &r.files[n]
	r.file = f.Index
	path := logfile.Name(r.cfg.Dir, f.Index)
	good, tail, err := logfile.Read(path,
		func(rec []byte, end int64) error {
			if err := r.ctx.Err(); err != nil {
				return err
			}
			return r.read(rec, path, logPlace{f.Index, end}, done+end)
		},
		func(d *logfile.Damage) { r.damaged(damageFile, d) })
	switch {
	case err != nil:
		return err
	case tail == nil:
		return nil
	case n < len(r.files)-1:
		r.damaged(damageFile, tail)
		return nil
	}
	r.logger.Warn("the write-ahead log ends in a record that was not fully written, as after a crash; it is cut off",
		"file", path, "offset", good, "bytes", f.Size-good, "found", tail.Err)
	if err := os.Truncate(path, good); err != nil {
		return fmt.Errorf("cut off torn end of log: %w", err)
	}
	r.replayTotal.Add(good - f.Size)
	f.Size = good
	return nil
}

func (r *replayer) damaged(kind string, d *logfile.Damage) {
	r.metrics.walCorruptions.WithLabelValues(kind).Inc()
	r.logger.Error("write-ahead log is damaged; what can be read behind the damage is read", "file", d.Path, "offset", d.Offset, "err", d.Err)
}

// startDecoders starts goroutines that decompress records ahead of the one that is applied: more than half of the
// work. The function ends them.
func (r *replayer) startDecoders() (stop func()) {
	n := runtime.GOMAXPROCS(0)
	r.decoding = make(chan *replayRecord, 2*n) // room for all that wait: sending never blocks
	var decoders sync.WaitGroup
	for range n {
		decoders.Go(func() {
			for rec := range r.decoding {
				rec.payload, rec.err = r.codec.payload(rec.rec)
				rec.decoded <- struct{}{}
			}
		})
	}
	return func() {
		close(r.decoding)
		decoders.Wait()
	}
}

// read takes a record from the log, has it decoded, and applies the oldest one if enough wait. Records of parts that
// are segments are neither kept nor decoded.
func (r *replayer) read(raw []byte, path string, at logPlace, size int64) error {
	rec := &replayRecord{decoded: make(chan struct{}, 1)}
	if n := len(r.spare); n > 0 {
		rec, r.spare = r.spare[n-1], r.spare[:n-1]
	}
	rec.path, rec.at, rec.size = path, at, size
	rec.parts, rec.rec, rec.payload, rec.err = rec.parts[:0], record{}, nil, nil
	head, err := parseRecord(raw)
	wanted := false
	if err == nil {
		for _, name := range head.parts {
			p := r.part(name)
			wanted = wanted || !p.skip
			rec.parts = append(rec.parts, p)
		}
	}
	if wanted {
		rec.alone = len(head.parts) == 1
		rec.raw = append(rec.raw[:0], head.data...)
		rec.rec = record{codec: head.codec, raw: head.raw, data: rec.raw}
		r.decoding <- rec
	} else {
		rec.err = err
		rec.decoded <- struct{}{}
	}
	r.waiting = append(r.waiting, rec)
	if len(r.waiting) < cap(r.decoding) {
		return nil
	}
	return r.applyNext()
}

// applyNext applies the oldest record that waits.
func (r *replayer) applyNext() error {
	rec := r.waiting[0]
	r.waiting = append(r.waiting[:0], r.waiting[1:]...)
	<-rec.decoded
	err := rec.err
	if err == nil && rec.payload != nil {
		r.rec, r.cur, r.alone = rec.parts, nil, rec.alone
		err = parsePayload(rec.payload, &r.scratch, (*replayHandler)(r))
	}
	if err != nil {
		r.damaged(damageRecord, &logfile.Damage{Path: rec.path, Offset: rec.at.end, Err: fmt.Errorf("record that ends here: %w", err)})
	}
	r.replayDone.Store(rec.size)
	r.spare = append(r.spare, rec)
	return r.relieve(rec.at)
}

// part returns the part of a record.
func (r *replayer) part(name partName) *replayPart {
	if p := r.parts[name.id]; p != nil {
		return p
	}
	p := &replayPart{id: name.id, tenant: r.tenant(name.tenant), streams: make(map[uint32]*stream)}
	r.parts[name.id] = p
	r.ids.seen(name.id)
	exists, err := r.store.Exists(user.InjectOrgID(r.ctx, name.tenant), name.id)
	if err != nil {
		// Reading it into memory is right in any case: queries that know the segment skip the
		// part, and writing it again does nothing.
		r.logger.Warn("cannot tell whether a part of the write-ahead log is a segment already; it is read",
			"tenant", name.tenant, "segment", name.id, "err", err)
	}
	p.tenant.mu.Lock()
	defer p.tenant.mu.Unlock()
	if exists {
		p.skip = true
		p.tenant.stored = append(p.tenant.stored, storedPart{id: name.id.String(), min: math.MinInt64, max: math.MaxInt64, at: r.cfg.Now()})
		return p
	}
	p.part = newPart(name.id, name.id.Timestamp())
	p.part.firstFile = r.file
	p.part.lastPush = r.cfg.Now()
	// Where they go is decided at the end; until then they are neither open nor sealed, but nobody
	// pushes or asks before the replay is over.
	r.metrics.parts.Inc()
	r.metrics.recoveredParts.Inc()
	return p
}

// replayHandler keeps the methods for parsePayload apart.
type replayHandler replayer

func (h *replayHandler) part(number int) (bool, error) {
	if number >= len(h.rec) {
		return false, fmt.Errorf("part %d of %d", number, len(h.rec))
	}
	h.cur = h.rec[number]
	// A part that is no longer there was stored during this replay: this record should not exist.
	if h.cur.part == nil && !h.cur.skip {
		return false, fmt.Errorf("rows of part %s behind its end", h.cur.id)
	}
	return !h.cur.skip, nil
}

func (h *replayHandler) stream(ref uint32, ls labels.Labels) error {
	if s := h.cur.streams[ref]; s != nil {
		if !labels.Equal(s.Labels, ls) {
			return fmt.Errorf("stream %d is both %s and %s", ref, s.Labels, ls)
		}
		return nil
	}
	t, p := h.cur.tenant, h.cur.part
	hash := labels.StableHash(ls)
	t.mu.Lock()
	defer t.mu.Unlock()
	known, same := p.find(hash, ls)
	if known != nil {
		return fmt.Errorf("stream %s has two numbers", ls)
	}
	before := p.mem
	h.cur.streams[ref] = p.add(hash, ls, ref, same)
	if t.active != nil {
		t.active[hash]++
	}
	h.metrics.streams.Inc()
	h.metrics.recoveredStreams.Inc()
	(*replayer)(h).addMemory(p.mem - before)
	return nil
}

func (h *replayHandler) name(id uint32, name string) error {
	t, p := h.cur.tenant, h.cur.part
	t.mu.Lock()
	defer t.mu.Unlock()
	tab, err := p.names.Load().recover(id, name)
	if err == nil {
		p.names.Store(tab)
	}
	return err
}

func (h *replayHandler) entries(payload []byte, e *entries) error {
	t, p := h.cur.tenant, h.cur.part
	lost := e.drop(func(sp *span) bool {
		sp.stream = h.cur.streams[sp.ref]
		return sp.stream == nil
	})
	if lost > 0 {
		h.metrics.lostEntries.Add(float64(lost))
		h.cur.lost += lost
	}
	t.mu.Lock()
	before := p.mem
	p.append(payload, e, h.alone)
	grown := p.mem - before
	t.mu.Unlock()
	(*replayer)(h).addMemory(grown)
	h.rows += int64(len(e.rows))
	h.lines += int64(e.linesHi - e.linesLo)
	h.metrics.recoveredEntries.Add(float64(len(e.rows)))
	h.metrics.recoveredBytes.Add(float64(e.linesHi - e.linesLo))
	return nil
}

// drop removes the spans that lost returns true for, and their rows.
func (e *entries) drop(lost func(*span) bool) int {
	dropped, from := 0, 0
	spans, rows := e.spans[:0], e.rows[:0]
	for _, sp := range e.spans {
		to := from + sp.n
		if lost(&sp) {
			dropped += sp.n
		} else {
			spans = append(spans, sp)
			rows = append(rows, e.rows[from:to]...)
		}
		from = to
	}
	e.spans, e.rows = spans, rows
	return dropped
}

// recover returns a table in which the name has that number.
func (t *nameTable) recover(id uint32, name string) (*nameTable, error) {
	if int(id) < len(t.byID) && t.byID[id] != nil {
		if t.byID[id].name != name {
			return nil, fmt.Errorf("metadata name %d is both %q and %q", id, t.byID[id].name, name)
		}
		return t, nil
	}
	if id > 1<<20 || t.byName[name] != nil {
		return nil, fmt.Errorf("metadata name %q with number %d", name, id)
	}
	n := &nameTable{byID: slices.Clone(t.byID), byName: make(map[string]*metaName, len(t.byName)+1)}
	for k, v := range t.byName {
		n.byName[k] = v
	}
	for len(n.byID) <= int(id) {
		n.byID = append(n.byID, nil)
	}
	m := &metaName{id: id, name: name}
	n.byID[id] = m
	n.byName[name] = m
	return n, nil
}

// relieve cuts parts when memory runs short. That can only concern parts without records further on.
// Others may make the ingester hold more than it should, if it may hold less than before the restart.
func (r *replayer) relieve(at logPlace) error {
	if r.memory.Load() < r.cfg.MaxHeadBytes {
		return nil
	}
	if r.last == nil {
		if err := r.findLast(at); err != nil {
			return err
		}
	}
	var whole []*replayPart
	for _, p := range r.parts {
		if p.part != nil && !at.before(r.last[p.id]) {
			whole = append(whole, p)
		}
	}
	slices.SortFunc(whole, func(a, b *replayPart) int { return a.id.Compare(b.id) })
	for _, p := range whole {
		if r.memory.Load() < r.cfg.MaxHeadBytes/2 {
			return nil
		}
		t, part := p.tenant, p.part
		t.mu.Lock()
		part.sealed, part.reason = true, reasonMemory
		t.sealed = append(t.sealed, part)
		close(part.quiet)
		t.mu.Unlock()
		p.part, p.streams = nil, nil
		if err := r.cutPart(r.ctx, t, part); err != nil {
			if r.ctx.Err() != nil {
				return err
			}
			r.metrics.flushFailures.Inc()
			r.logger.Error("segment cannot be written, will try again", "tenant", t.id, "segment", part.id, "err", err)
			r.cutter.add(t, part)
		}
	}
	return nil
}

// findLast finds the last record of each part, from a place on.
func (r *replayer) findLast(at logPlace) error {
	r.last = make(map[ulid.ULID]logPlace)
	for _, f := range r.files {
		if f.Index < at.file {
			continue
		}
		_, _, err := logfile.Read(logfile.Name(r.cfg.Dir, f.Index), func(b []byte, end int64) error {
			// What can't be read is reported when it is its turn.
			rec, _ := parseRecord(b)
			for _, p := range rec.parts {
				r.last[p.id] = logPlace{f.Index, end}
			}
			return r.ctx.Err()
		}, func(*logfile.Damage) {})
		if err != nil {
			return err
		}
	}
	return nil
}

// finish decides what becomes of the parts: the newest of each tenant takes pushes again, the others are
// cut.
func (r *replayer) finish() {
	parts := make([]*replayPart, 0, len(r.parts))
	for _, p := range r.parts {
		if p.lost > 0 {
			r.logger.Error("entries of the write-ahead log belong to streams whose names were lost with a damaged place",
				"tenant", p.tenant.id, "segment", p.id, "entries", p.lost)
		}
		if p.part != nil {
			parts = append(parts, p)
		}
	}
	slices.SortFunc(parts, func(a, b *replayPart) int { return a.id.Compare(b.id) })
	for _, p := range parts {
		t := p.tenant
		t.mu.Lock()
		before := t.open
		if before != nil {
			t.seal(reasonSize)
		}
		t.open = p.part
		var full *part
		if p.part.lineBytes >= r.cfg.SegmentTarget {
			full = t.seal(reasonSize)
		}
		t.mu.Unlock()
		for _, sealed := range []*part{before, full} {
			if sealed != nil {
				r.cutter.add(t, sealed)
			}
		}
	}
}
