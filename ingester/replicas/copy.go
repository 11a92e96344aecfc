package replicas

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"example.com/loki/ingester"
)

// copied is a copy of a request, which is used again when all who send it are done: by the contract a Service keeps
// nothing of a request after Push has returned, whatever it returned.
type copied struct {
	streams []ingester.Stream // those that have entries; labels are not used again

	pool    *sync.Pool
	users   atomic.Int32
	bytes   []byte
	entries []ingester.Entry
	fields  []ingester.Field
	names   map[string]string
	last    string // name: often the same for entry after entry
}

const (
	mostReused = 16 << 20 // bytes of a copy that is used again
	mostNames  = 1000
)

// copyRequest returns a copy that shares nothing with the request; the caller is its first user.
func copyRequest(pool *sync.Pool, req *ingester.PushRequest) *copied {
	streams, entries, fields, size := 0, 0, 0, 0
	for n := range req.Streams {
		s := &req.Streams[n]
		if len(s.Entries) > 0 {
			streams++
		}
		entries += len(s.Entries)
		for m := range s.Entries {
			e := &s.Entries[m]
			size += len(e.Line)
			fields += len(e.Metadata)
			for k := range e.Metadata {
				size += len(e.Metadata[k].Value)
			}
		}
	}
	c, _ := pool.Get().(*copied)
	if c == nil {
		c = &copied{pool: pool}
	}
	c.users.Store(1)
	// Grown before anything is appended: what was copied must not move.
	c.bytes = slices.Grow(c.bytes[:0], size)
	c.entries = slices.Grow(c.entries[:0], entries)
	c.fields = slices.Grow(c.fields[:0], fields)
	c.streams = make([]ingester.Stream, 0, streams)
	for n := range req.Streams {
		s := &req.Streams[n]
		if len(s.Entries) == 0 {
			continue
		}
		from := len(c.entries)
		for m := range s.Entries {
			c.entries = append(c.entries, c.entry(&s.Entries[m]))
		}
		c.streams = append(c.streams, ingester.Stream{Labels: s.Labels.Copy(), Hash: s.Hash, Entries: c.entries[from:len(c.entries):len(c.entries)]})
	}
	return c
}

// use adds a user.
func (c *copied) use() { c.users.Add(1) }

// done takes one away.
func (c *copied) done() {
	if c.users.Add(-1) > 0 {
		return
	}
	c.streams = nil
	if len(c.names) > mostNames {
		c.names, c.last = nil, ""
	}
	if cap(c.bytes)+64*cap(c.entries)+40*cap(c.fields) <= mostReused {
		c.pool.Put(c)
	}
}

func (c *copied) entry(e *ingester.Entry) ingester.Entry {
	out := ingester.Entry{Time: e.Time, Line: c.copy(e.Line)}
	if len(e.Metadata) > 0 {
		from := len(c.fields)
		for _, f := range e.Metadata {
			c.fields = append(c.fields, ingester.Field{Name: c.name(f.Name), Value: c.copy(f.Value)})
		}
		out.Metadata = c.fields[from:len(c.fields):len(c.fields)]
	}
	return out
}

func (c *copied) copy(b []byte) []byte {
	from := len(c.bytes)
	c.bytes = append(c.bytes, b...)
	return c.bytes[from:len(c.bytes):len(c.bytes)]
}

// name copies a name once for all entries.
func (c *copied) name(s string) string {
	if s == c.last {
		return c.last
	}
	if own, ok := c.names[s]; ok {
		c.last = own
		return own
	}
	if c.names == nil {
		c.names = make(map[string]string)
	}
	own := strings.Clone(s)
	c.names[own], c.last = own, own
	return own
}

// sizeOf returns about how many bytes of lines and metadata a stream has.
func sizeOf(s *ingester.Stream) int64 {
	n := 0
	for j := range s.Entries {
		e := &s.Entries[j]
		n += len(e.Line)
		for k := range e.Metadata {
			n += len(e.Metadata[k].Name) + len(e.Metadata[k].Value)
		}
	}
	return int64(n)
}
