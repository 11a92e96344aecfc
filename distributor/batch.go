package distributor

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/ingester"
	"example.com/loki/limits"
)

// batch is the work on one push. It is kept for reuse, and holds copies of entries (not of their
// lines), so that what was pushed stays as it was.
type batch struct {
	d      *Distributor
	tenant string
	limits *limits.Limits
	levels *levelFinder // nil: no levels wanted
	now    time.Time

	// The earliest and latest time of an entry.
	oldest, newest int64

	resolved []*stream  // of the streams of the push, one by one
	made     [][]stream // those of them that were not known, in pieces of madeAtOnce
	nmade    int
	set      []labels.Label // of the stream that is looked at
	full     []labels.Label // the same with what is added
	groups   map[uint64]int
	out      []outStream
	entries  []ingester.Entry
	fields   []ingester.Field
	streams  []ingester.Stream
	key      []byte
	cleaned  [16]Label // names of metadata and the label names made of them

	lines, bytes, metadataBytes int // received
	accepted, acceptedBytes     int
	discarded                   map[Reason]discarded
	refused                     PushError
	local                       []localRefusal
}

// outStream is what of a stream is stored.
type outStream struct {
	*stream
	entries []ingester.Entry
	bytes   int
}

type discarded struct{ entries, bytes int }

// localRefusal collects refusals of one stream.
type localRefusal struct {
	reason         Reason
	entries, bytes int
	text           string
}

func (d *Distributor) batch(tenant string, l *limits.Limits, levels *levelFinder) *batch {
	b, _ := d.scratch.Get().(*batch)
	if b == nil {
		b = &batch{d: d, groups: map[uint64]int{}, discarded: map[Reason]discarded{}}
	}
	b.tenant, b.limits, b.levels, b.now = tenant, l, levels, d.cfg.Now()
	b.oldest, b.newest = minTime, b.now.Add(l.CreationGracePeriod).UnixNano()
	if l.RejectOldSamples {
		b.oldest = b.now.Add(-l.RejectOldSamplesMaxAge).UnixNano()
	}
	return b
}

const minTime = -1 << 63

// keepEntries, keepFields and keepMade are how much a batch may keep for the next push, about 10 MiB.
const (
	keepEntries = 64 << 10
	keepFields  = 128 << 10
	keepMade    = 64
	madeAtOnce  = 256
)

// newStream returns an empty stream that is valid until the batch is released.
func (b *batch) newStream() *stream {
	chunk, n := b.nmade/madeAtOnce, b.nmade%madeAtOnce
	if chunk == len(b.made) {
		b.made = append(b.made, make([]stream, madeAtOnce))
	}
	b.nmade++
	return &b.made[chunk][n]
}

func (d *Distributor) release(b *batch) {
	if cap(b.entries) > keepEntries || cap(b.fields) > keepFields || cap(b.out) > keepEntries || len(b.made) > keepMade {
		return
	}
	for n := 0; n < b.nmade; n += madeAtOnce {
		clear(b.made[n/madeAtOnce])
	}
	clear(b.set[:cap(b.set)])
	clear(b.full[:cap(b.full)])
	clear(b.resolved)
	clear(b.out)
	clear(b.entries)
	clear(b.fields)
	clear(b.streams)
	clear(b.groups)
	clear(b.discarded)
	*b = batch{d: d, groups: b.groups, discarded: b.discarded,
		resolved: b.resolved[:0], out: b.out[:0], entries: b.entries[:0], fields: b.fields[:0], streams: b.streams[:0],
		key: b.key[:0], local: b.local[:0], made: b.made, set: b.set[:0], full: b.full[:0]}
	d.scratch.Put(b)
}

// take checks the entries of a stream and keeps the good ones.
func (b *batch) take(s *stream, entries []ingester.Entry) {
	from, size := len(b.entries), 0
	b.local = b.local[:0]
	for i := range entries {
		e := &entries[i]
		meta := metadataSize(e.Metadata)
		bytes := len(e.Line) + meta
		b.lines++
		b.bytes += bytes
		b.metadataBytes += meta
		if s.refused != "" {
			continue
		}
		if reason := b.check(e, meta); reason != "" {
			b.refuseEntry(s, e, meta, reason)
			continue
		}
		line := e.Line
		if most := b.limits.MaxLineSize; most > 0 && len(line) > most {
			line = cut(line, most)
			bytes += len(line) - len(e.Line)
		}
		b.entries = append(b.entries, ingester.Entry{Time: e.Time, Line: line, Metadata: b.metadata(s, e.Metadata, line)})
		size += bytes
	}
	if s.refused != "" {
		total := 0
		for i := range entries {
			total += len(entries[i].Line) + metadataSize(entries[i].Metadata)
		}
		b.refuse(s.refused, len(entries), total, func() string { return s.refusedText })
		return
	}
	for _, l := range b.local {
		b.refuse(l.reason, l.entries, l.bytes, func() string { return l.text })
	}
	if len(b.entries) == from {
		return
	}
	b.accepted += len(b.entries) - from
	b.acceptedBytes += size
	b.group(s, b.entries[from:len(b.entries):len(b.entries)], size)
}

// group adds entries to those of the same labels.
func (b *batch) group(s *stream, entries []ingester.Entry, size int) {
	if i, ok := b.groups[s.hash]; ok && labels.Equal(b.out[i].labels, s.labels) {
		o := &b.out[i]
		o.entries = append(o.entries, entries...)
		o.bytes += size
		return
	}
	b.groups[s.hash] = len(b.out)
	b.out = append(b.out, outStream{s, entries, size})
}

// check returns why an entry is refused, or nothing.
func (b *batch) check(e *ingester.Entry, meta int) Reason {
	l := b.limits
	switch {
	case e.Time < b.oldest:
		return TooOld
	case e.Time > b.newest:
		return TooNew
	case l.MaxLineSize > 0 && len(e.Line) > l.MaxLineSize && !l.MaxLineSizeTruncate:
		return LineTooLong
	case len(e.Metadata) == 0:
		return ""
	case !l.AllowStructuredMetadata:
		return DisallowedMetadata
	case l.MaxStructuredMetadataSize > 0 && meta > l.MaxStructuredMetadataSize:
		return StructuredMetadataTooLarge
	case l.MaxStructuredMetadataEntriesCount > 0 && len(e.Metadata) > l.MaxStructuredMetadataEntriesCount:
		return StructuredMetadataTooMany
	}
	return ""
}

// refuseEntry collects a refusal; the text tells of the first entry with each reason.
func (b *batch) refuseEntry(s *stream, e *ingester.Entry, meta int, reason Reason) {
	size := len(e.Line) + meta
	for i := range b.local {
		if l := &b.local[i]; l.reason == reason {
			l.entries++
			l.bytes += size
			return
		}
	}
	text := ""
	if len(b.refused.Refusals) < maxRefusals {
		text = b.refusalText(s, e, meta, reason)
	}
	b.local = append(b.local, localRefusal{reason, 1, size, text})
}

func (b *batch) refusalText(s *stream, e *ingester.Entry, meta int, reason Reason) string {
	const ask = "Please see `limits_config.%s` or contact your Loki administrator to %s it"
	l, of := b.limits, s.text()
	switch reason {
	case TooOld:
		return fmt.Sprintf("entry for stream '%s' has timestamp too old: %s, oldest acceptable timestamp is: %s", of, timeText(e.Time), b.now.Add(-l.RejectOldSamplesMaxAge).UTC().Format(time.RFC3339))
	case TooNew:
		return fmt.Sprintf("entry for stream '%s' has timestamp too new: %s", of, timeText(e.Time))
	case LineTooLong:
		return fmt.Sprintf("max entry size '%d' bytes exceeded for stream '%s' while adding an entry with length '%d' bytes", l.MaxLineSize, of, len(e.Line))
	case DisallowedMetadata:
		return fmt.Sprintf("stream '%s' includes structured metadata, but this feature is disallowed. "+ask, of, "allow_structured_metadata", "enable")
	case StructuredMetadataTooLarge:
		return fmt.Sprintf("stream '%s' has structured metadata too large: '%d' bytes, limit: '%d' bytes. "+ask, of, meta, l.MaxStructuredMetadataSize, "max_structured_metadata_size", "increase")
	default:
		return fmt.Sprintf("stream '%s' has too many structured metadata labels: '%d', limit: '%d'. "+ask, of, len(e.Metadata), l.MaxStructuredMetadataEntriesCount, "max_structured_metadata_entries_count", "increase")
	}
}

func timeText(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339) }

// refuse counts what is refused.
func (b *batch) refuse(reason Reason, entries, bytes int, text func() string) {
	n := b.discarded[reason]
	b.discarded[reason] = discarded{n.entries + entries, n.bytes + bytes}
	b.refused.add(reason, entries, text)
}

// metadata returns the structured metadata to store for an entry: names cleaned, sorted and unique,
// empty values left out, and the level added. Of fields that get the same name the last one counts.
func (b *batch) metadata(s *stream, sent []ingester.Field, line []byte) []ingester.Field {
	from := len(b.fields)
	hasLevel := b.levels == nil || s.has(detectedLevel)
	for i := range sent {
		f := sent[i]
		if len(f.Value) == 0 {
			continue
		}
		name := b.cleanName(f.Name)
		hasLevel = hasLevel || name == detectedLevel
		b.insertField(from, ingester.Field{Name: s.free(name), Value: validValue(f.Value)})
	}
	if !hasLevel {
		level := b.levels.find(s.level, b.fields[from:], line)
		b.insertField(from, ingester.Field{Name: detectedLevel, Value: level})
	}
	if len(b.fields) == from {
		return nil
	}
	return b.fields[from:len(b.fields):len(b.fields)]
}

// insertField puts f into b.fields[from:], which is sorted by name. Clients mostly send sorted fields,
// and few of them.
func (b *batch) insertField(from int, f ingester.Field) {
	b.fields = append(b.fields, f)
	own := b.fields[from:]
	i := len(own) - 1
	for i > 0 && own[i-1].Name > f.Name {
		own[i] = own[i-1]
		i--
	}
	if i > 0 && own[i-1].Name == f.Name {
		own[i-1] = f
		copy(own[i:], own[i+1:])
		b.fields = b.fields[:len(b.fields)-1]
		return
	}
	own[i] = f
}

func metadataSize(fields []ingester.Field) (n int) {
	for i := range fields {
		n += len(fields[i].Name) + len(fields[i].Value)
	}
	return n
}

// cut shortens a line to at most n bytes, between two characters.
func cut(line []byte, n int) []byte {
	for back := 1; back <= 3 && back < n && back <= n; back++ {
		if utf8.RuneStart(line[n]) {
			break
		}
		if utf8.RuneStart(line[n-back]) {
			return line[:n-back]
		}
	}
	return line[:n]
}

// limitStreams refuses streams that are pushed faster than one stream may be.
func (b *batch) limitStreams() {
	if b.limits.PerStreamRateLimit <= 0 {
		return
	}
	limit, burst := float64(b.limits.PerStreamRateLimit), b.limits.PerStreamRateLimitBurst
	tenant, now := xxhash.Sum64String(b.tenant), b.now.UnixNano()
	kept := b.out[:0]
	for _, o := range b.out {
		if b.d.rates.allow(tenant^o.hash, now, o.bytes, limit, burst) {
			kept = append(kept, o)
			continue
		}
		b.accepted -= len(o.entries)
		b.acceptedBytes -= o.bytes
		b.refuse(PerStreamRateLimit, len(o.entries), o.bytes, func() string {
			s := fmt.Sprintf("Per stream rate limit exceeded (limit: %s/sec) while attempting to ingest for stream '%s' totaling %s, "+
				"consider splitting a stream via additional labels or contact your Loki administrator to see if the limit can be increased",
				sizeText(b.limits.PerStreamRateLimit), o.text(), sizeText(o.bytes))
			if o.bytes > burst {
				s += fmt.Sprintf(". This can never succeed, because it is more than the burst of %s that the limit allows: send it in smaller parts", sizeText(burst))
			}
			return s
		})
	}
	clear(b.out[len(kept):])
	if len(kept) < len(b.out) {
		for i := range kept {
			b.groups[kept[i].hash] = i
		}
	}
	b.out = kept
}

// over counts what an ingester refused because the tenant has too many streams.
func (b *batch) over(e *ingester.StreamLimitError) (n discarded) {
	for _, l := range e.Streams {
		if i, ok := b.groups[labels.StableHash(l)]; ok && i < len(b.out) && labels.Equal(b.out[i].labels, l) {
			n.entries += len(b.out[i].entries)
			n.bytes += b.out[i].bytes
		}
	}
	return n
}

// sizeText prints a size as Loki's limits do.
func sizeText(n int) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%dMB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%dKB", n>>10)
	}
	return fmt.Sprintf("%dB", n)
}

// request is what goes to the ingester. It is valid until the batch is released.
func (b *batch) request() *ingester.PushRequest {
	for _, o := range b.out {
		b.streams = append(b.streams, ingester.Stream{Labels: o.labels, Hash: o.hash, Entries: o.entries})
	}
	return &ingester.PushRequest{Streams: b.streams}
}
