package ingester

import (
	"context"
	"fmt"

	"example.com/loki/internal/pace"
)

// Push implements Service.
func (i *Ingester) Push(ctx context.Context, req *PushRequest) error {
	id, err := tenantID(ctx)
	if err != nil {
		return err
	}
	if err := i.Ready(); err != nil {
		return err
	}
	if err := checkSizes(req); err != nil {
		return err
	}
	ctx, done := i.cfg.Pace.Push(ctx)
	defer done()
	if err := i.awaitMemory(ctx); err != nil {
		return err
	}
	enc := i.encoders.Get().(*encoder)
	t := i.tenant(id)
	p, spans, refused := i.join(t, req, enc.spans[:0])
	for p == nil { // the tenant was forgotten in between
		t = i.tenant(id)
		p, spans, refused = i.join(t, req, enc.spans[:0])
	}
	enc.spans = spans
	push := &pendingPush{tenant: t, part: p, done: make(chan error, 1)}
	if len(spans) > 0 {
		push.chunks = i.encode(enc, push, req, spans)
	}
	i.putEncoder(enc)

	if len(spans) == 0 {
		t.mu.Lock()
		t.leave(p)
		t.mu.Unlock()
	} else {
		defer pace.Idle(ctx)() // until it is in the log
		if err := i.commit(push); err != nil {
			return err
		}
		select {
		case err := <-push.done:
			i.freeRecords(push)
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("ingester: push may or may not be stored: %w", ctx.Err())
		}
	}
	if refused != nil {
		return refused
	}
	return nil
}

// checkSizes refuses what would make a record that no reader takes.
func checkSizes(req *PushRequest) error {
	for n := range req.Streams {
		s := &req.Streams[n]
		for m := range s.Entries {
			e := &s.Entries[m]
			size := len(e.Line)
			for _, f := range e.Metadata {
				size += len(f.Name) + len(f.Value)
			}
			if size > maxEntry {
				return fmt.Errorf("%w: %d bytes", ErrTooLarge, size)
			}
		}
	}
	return nil
}

// pendingPush is a push on its way through the committer.
type pendingPush struct {
	tenant *tenant
	part   *part
	chunks []*chunk
	mem    int64 // reserved for it
	done   chan error
}

// chunk is a piece of a push: the content of one record, or of a part of one.
type chunk struct {
	payload []byte
	entries entries     // rows refer to payload
	names   []*metaName // that the payload defines
	record  []byte      // payload compressed in a record; nil if it shares a record with others
	buf     *[]byte     // memory of record
}

const (
	chunkBytes = 4 << 20  // lines and metadata in one record, unless one entry is larger
	shareBelow = 32 << 10 // payloads below this share records
)

// encode makes the records of a push.
func (i *Ingester) encode(enc *encoder, push *pendingPush, req *PushRequest, spans []span) []*chunk {
	var chunks []*chunk
	for first := (place{}); first.span < len(spans); {
		c, next := enc.chunk(i.walFile.Load(), push, req, spans, first)
		first = next
		push.mem += int64(len(c.payload)) + int64(len(c.entries.rows))*rowSize
		if len(c.payload) >= shareBelow {
			parts := []partName{{push.part.id, push.tenant.id}}
			c.buf, _ = i.records.Get().(*[]byte)
			if c.buf == nil {
				c.buf = new([]byte)
			}
			c.record = i.codec.appendRecord((*c.buf)[:0], parts, c.payload)
			*c.buf = c.record
		}
		chunks = append(chunks, c)
	}
	i.addMemory(push.mem)
	return chunks
}

// freeRecords takes back the memory of records that are in the log, or refused.
func (i *Ingester) freeRecords(push *pendingPush) {
	for _, c := range push.chunks {
		if c.buf != nil && cap(*c.buf) <= 2*chunkBytes {
			i.records.Put(c.buf)
		}
		c.record, c.buf = nil, nil
	}
}

// place is where a chunk begins.
type place struct{ span, entry int }

// nameFor returns the number of a metadata name, which it adds to the part if it is new.
func nameFor(t *tenant, p *part, name string) *metaName {
	if m := p.names.Load().byName[name]; m != nil {
		return m
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	tab := p.names.Load()
	if tab.byName[name] == nil {
		name = string([]byte(name)) // it may refer to the request
		tab = tab.with(name)
		p.names.Store(tab)
	}
	return tab.byName[name]
}

// awaitMemory waits while the ingester holds as much as it may.
func (i *Ingester) awaitMemory(ctx context.Context) error {
	if i.memory.Load() < i.cfg.MaxHeadBytes {
		return nil
	}
	i.metrics.pushWaits.Inc()
	defer pace.Idle(ctx)() // so that what frees memory gets on
	for {
		freed := i.freed.wait()
		if i.memory.Load() < i.cfg.MaxHeadBytes {
			return nil
		}
		i.cutter.wake()
		select {
		case <-freed:
		case <-i.gate.closed:
			return i.Ready()
		case <-ctx.Done():
			return fmt.Errorf("ingester: wait for memory: %w", ctx.Err())
		}
	}
}

// addMemory notes that the heads have grown, or with a negative number shrunk.
func (i *Ingester) addMemory(n int64) {
	if n == 0 {
		return
	}
	total := i.memory.Add(n)
	i.metrics.headBytes.Set(float64(total))
	if n < 0 {
		i.freed.broadcast()
	} else if total >= i.cfg.MaxHeadBytes/4*3 && total-n < i.cfg.MaxHeadBytes/4*3 {
		i.cutter.wake()
	}
}
