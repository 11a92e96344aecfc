package ingester

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/grafana/dskit/user"
	"github.com/oklog/ulid/v2"
)

// tenant is what the ingester holds of one tenant.
type tenant struct {
	id string

	// mu is held for short times only: to look up or create streams, to append rows, to copy slice
	// headers. Never across I/O, sorting, compression or matching.
	mu      sync.RWMutex
	open    *part            // takes pushes; nil if there is none
	sealed  []*part          // on their way to the store, oldest first
	stored  []storedPart     // became segments lately, oldest first
	active  map[uint64]int32 // hashes of streams in open and sealed, and in how many parts; nil: not counted
	tailers []*tailer
	dead    bool // no longer in Ingester.tenants; a push must look the tenant up again
}

// storedPart is a part that has become a segment.
type storedPart struct {
	id       string
	min, max int64 // times of its rows
	at       time.Time
}

func tenantID(ctx context.Context) (string, error) {
	id, err := user.ExtractOrgID(ctx)
	if err != nil {
		return "", fmt.Errorf("ingester: %w", err)
	}
	return id, nil
}

// reading returns the tenant that a read is for, nil if there is nothing of it, and an error while nothing can be read.
func (i *Ingester) reading(ctx context.Context) (*tenant, error) {
	id, err := tenantID(ctx)
	if err != nil {
		return nil, err
	}
	if err := i.Ready(); err != nil {
		return nil, err
	}
	return i.lookup(id), nil
}

// lookup returns a tenant or nil.
func (i *Ingester) lookup(id string) *tenant {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.tenants[id]
}

// tenant returns a tenant, which it creates if needed.
func (i *Ingester) tenant(id string) *tenant {
	if t := i.lookup(id); t != nil {
		return t
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	t := i.tenants[id]
	if t == nil {
		id := string([]byte(id)) // it may refer to a request
		t = &tenant{id: id}
		i.tenants[id] = t
	}
	return t
}

// allTenants returns the tenants at this moment.
func (i *Ingester) allTenants() []*tenant {
	i.mu.RLock()
	defer i.mu.RUnlock()
	ts := make([]*tenant, 0, len(i.tenants))
	for _, t := range i.tenants {
		ts = append(ts, t)
	}
	return ts
}

// maxStreams returns how many streams a tenant may have, and how many of them here; 0 means no limit.
func (i *Ingester) maxStreams(tenant string) (all, here int) {
	all = i.limits(tenant).MaxGlobalStreamsPerUser
	if all <= 0 || i.cfg.StreamShare == nil {
		return all, all
	}
	return all, max(int(math.Ceil(float64(all)*i.cfg.StreamShare())), 1)
}

// join adds the push to the open part: it makes the streams and returns a span for each stream of the
// request that has entries and was not refused, with the index of the stream in the request in ref.
// The caller must call leave. The part is nil if t is dead.
func (i *Ingester) join(t *tenant, req *PushRequest, spans []span) (*part, []span, *StreamLimitError) {
	file := int32(i.walFile.Load())

	from := 0 // the first stream that is not known
	t.mu.RLock()
	known := t.open
	if known != nil {
		for ; from < len(req.Streams); from++ {
			rs := &req.Streams[from]
			if len(rs.Entries) == 0 {
				continue
			}
			s, _ := known.find(rs.Hash, rs.Labels)
			if s == nil {
				break
			}
			spans = append(spans, span{ref: uint32(from), n: len(rs.Entries), stream: s, define: s.file < file})
		}
		if from == len(req.Streams) {
			known.pending.Add(1)
			t.mu.RUnlock()
			return known, spans, nil
		}
	}
	t.mu.RUnlock()

	limit, most := i.maxStreams(t.id)
	var refused *StreamLimitError
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dead {
		return nil, spans[:0], nil
	}
	t.count(limit > 0)
	p := t.open
	if p == nil || p != known {
		spans, from = spans[:0], 0
	}
	if p == nil {
		p = newPart(i.ids.next(i.cfg.Now()), i.cfg.Now())
		t.open = p
		i.metrics.parts.Inc()
		i.metrics.partsCreated.Inc()
	}
	before, streams := p.mem, len(p.streams)
	for n := from; n < len(req.Streams); n++ {
		rs := &req.Streams[n]
		if len(rs.Entries) == 0 {
			continue
		}
		s, same := p.find(rs.Hash, rs.Labels)
		if s == nil {
			if limit > 0 && len(t.active) >= most && t.active[rs.Hash] == 0 {
				if refused == nil {
					refused = &StreamLimitError{Tenant: t.id, Limit: limit}
				}
				refused.Streams = append(refused.Streams, rs.Labels.Copy())
				continue
			}
			s = p.add(rs.Hash, rs.Labels, p.nextRef, same)
			if t.active != nil {
				t.active[rs.Hash]++
			}
		}
		spans = append(spans, span{ref: uint32(n), n: len(rs.Entries), stream: s, define: s.file < file})
	}
	i.addMemory(p.mem - before)
	i.metrics.streams.Add(float64(len(p.streams) - streams))
	i.metrics.streamsCreated.Add(float64(len(p.streams) - streams))
	p.pending.Add(1)
	return p, spans, refused
}

// count sees to it that t.active is right if it is wanted, and not there if not: without a limit it would
// be work for each stream that nobody needs. t.mu must be held.
func (t *tenant) count(wanted bool) {
	switch {
	case !wanted:
		t.active = nil
	case t.active == nil:
		t.active = make(map[uint64]int32)
		for _, p := range t.parts() {
			for _, s := range p.streams {
				t.active[s.Hash]++
			}
		}
	}
}

// leave ends what join began: the push is applied or refused. t.mu must be held.
func (t *tenant) leave(p *part) {
	if p.pending.Add(-1) == 0 && p.sealed {
		close(p.quiet)
	}
}

// seal ends the open part: later pushes get a new one. t.mu must be held. It returns nil if there was
// nothing to seal.
func (t *tenant) seal(why reason) *part {
	p := t.open
	if p == nil {
		return nil
	}
	t.open = nil
	p.sealed = true
	p.reason = why
	t.sealed = append(t.sealed, p)
	if p.pending.Load() == 0 {
		close(p.quiet)
	}
	return p
}

// parts returns all parts in memory, oldest first. t.mu must be held.
func (t *tenant) parts() []*part {
	ps := slices.Clone(t.sealed)
	if t.open != nil {
		ps = append(ps, t.open)
	}
	return ps
}

// idSource makes ULIDs that ascend, whatever the clock does.
type idSource struct {
	mu      sync.Mutex
	last    ulid.ULID
	entropy io.Reader
}

func newIDSource() *idSource { return &idSource{entropy: ulid.Monotonic(rand.Reader, 0)} }

// next returns an ID above all before it.
func (s *idSource) next(now time.Time) ulid.ULID {
	s.mu.Lock()
	defer s.mu.Unlock()
	ms := max(ulid.Timestamp(now), s.last.Time())
	for {
		id, err := ulid.New(ms, s.entropy)
		if err == nil && id.Compare(s.last) > 0 {
			s.last = id
			return id
		}
		ms++ // out of numbers within this millisecond
	}
}

// seen makes later IDs greater than this one.
func (s *idSource) seen(id ulid.ULID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id.Compare(s.last) > 0 {
		s.last = id
	}
}
