package replicas

import (
	"strings"

	"example.com/loki/ingester"
)

// copyRequest returns the streams that have entries, sharing nothing with the request, with few allocations.
func copyRequest(req *ingester.PushRequest) []ingester.Stream {
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
	c := copier{
		bytes:   make([]byte, 0, size),
		entries: make([]ingester.Entry, 0, entries),
		fields:  make([]ingester.Field, 0, fields),
	}
	out := make([]ingester.Stream, 0, streams)
	for n := range req.Streams {
		s := &req.Streams[n]
		if len(s.Entries) == 0 {
			continue
		}
		from := len(c.entries)
		for m := range s.Entries {
			c.entries = append(c.entries, c.entry(&s.Entries[m]))
		}
		out = append(out, ingester.Stream{Labels: s.Labels.Copy(), Hash: s.Hash, Entries: c.entries[from:len(c.entries):len(c.entries)]})
	}
	return out
}

type copier struct {
	bytes   []byte
	entries []ingester.Entry
	fields  []ingester.Field
	names   map[string]string
	last    string // name: often the same for entry after entry
}

func (c *copier) entry(e *ingester.Entry) ingester.Entry {
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

func (c *copier) copy(b []byte) []byte {
	from := len(c.bytes)
	c.bytes = append(c.bytes, b...)
	return c.bytes[from:len(c.bytes):len(c.bytes)]
}

// name copies a name once for all entries.
func (c *copier) name(s string) string {
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
