package lokihttp

import (
	"encoding/json"
	"io"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
)

// ContentType of all JSON answers.
const ContentType = "application/json; charset=UTF-8"

// EncodeResult writes the answer to a query.
func EncodeResult(w io.Writer, r *logql.Result, categorize bool) error {
	e := newEncoder(w)
	e.raw(`{"status":"success",`)
	if len(r.Warnings) > 0 {
		e.raw(`"warnings":`)
		e.strings(r.Warnings)
		e.byte(',')
	}
	e.raw(`"data":{"resultType":`)
	e.string(string(r.Type))
	if categorize && r.Type == logql.ResultStreams {
		e.raw(`,"encodingFlags":["categorize-labels"]`)
	}
	e.raw(`,"result":`)
	switch r.Type {
	case logql.ResultStreams:
		e.streams(r.Streams, categorize)
	case logql.ResultScalar:
		e.point(r.Scalar)
	default:
		e.series(r.Series, r.Type == logql.ResultMatrix)
	}
	e.raw(`,"stats":`)
	e.stats(&r.Stats)
	e.raw("}}\n")
	return e.flush()
}

func (e *encoder) streams(streams []logql.StreamResult, categorize bool) {
	e.byte('[')
	for i := range streams {
		if i > 0 {
			e.byte(',')
		}
		e.stream(&streams[i], categorize)
		if !e.check() {
			return
		}
	}
	e.byte(']')
}

// stream writes a stream with its entries.
func (e *encoder) stream(s *logql.StreamResult, categorize bool) {
	e.raw(`{"stream":`)
	e.labels(s.Labels)
	e.raw(`,"values":[`)
	for i := range s.Entries {
		entry := &s.Entries[i]
		if i > 0 {
			e.byte(',')
		}
		e.raw(`["`)
		e.int(entry.Time)
		e.raw(`",`)
		e.string(entry.Line)
		if categorize {
			e.categories(entry)
		}
		e.byte(']')
		if !e.check() {
			return
		}
	}
	e.raw(`]}`)
}

// categories writes the third element of an entry; a group without labels is left out.
func (e *encoder) categories(entry *logql.EntryResult) {
	e.raw(`,{`)
	metadata := !entry.Metadata.IsEmpty()
	if metadata {
		e.raw(`"structuredMetadata":`)
		e.labels(entry.Metadata)
	}
	if !entry.Parsed.IsEmpty() {
		if metadata {
			e.byte(',')
		}
		e.raw(`"parsed":`)
		e.labels(entry.Parsed)
	}
	e.byte('}')
}

func (e *encoder) series(series []logql.SeriesResult, matrix bool) {
	e.byte('[')
	for i := range series {
		if i > 0 {
			e.byte(',')
		}
		e.raw(`{"metric":`)
		e.labels(series[i].Labels)
		if matrix {
			e.raw(`,"values":[`)
			for j, p := range series[i].Points {
				if j > 0 {
					e.byte(',')
				}
				e.point(p)
				if !e.check() {
					return
				}
			}
			e.byte(']')
		} else if len(series[i].Points) > 0 {
			e.raw(`,"value":`)
			e.point(series[i].Points[0])
		}
		e.byte('}')
		if !e.check() {
			return
		}
	}
	e.byte(']')
}

// point writes [seconds, "value"].
func (e *encoder) point(p logql.Point) {
	e.byte('[')
	t := p.Time
	if t < 0 {
		e.byte('-')
		t = -t
	}
	e.int(t / 1000)
	if ms := t % 1000; ms != 0 {
		e.byte('.')
		e.buf = append(e.buf, byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
	}
	e.raw(`,"`)
	e.buf = strconv.AppendFloat(e.buf, p.Value, 'f', -1, 64)
	e.raw(`"]`)
}

func (e *encoder) strings(list []string) {
	e.byte('[')
	for i, s := range list {
		if i > 0 {
			e.byte(',')
		}
		e.string(s)
		if !e.check() {
			return
		}
	}
	e.byte(']')
}

// EncodeStrings writes a list of labels or values.
func EncodeStrings(w io.Writer, list []string) error {
	e := newEncoder(w)
	e.raw(`{"status":"success","data":`)
	e.strings(list)
	e.raw("}\n")
	return e.flush()
}

// EncodeSeries writes a list of streams.
func EncodeSeries(w io.Writer, series []labels.Labels) error {
	e := newEncoder(w)
	e.raw(`{"status":"success","data":[`)
	for i, ls := range series {
		if i > 0 {
			e.byte(',')
		}
		e.labels(ls)
		if !e.check() {
			return e.err
		}
	}
	e.raw("]}\n")
	return e.flush()
}

// EncodeOld writes the answer to a log query in the shape of the API before version 1.
func EncodeOld(w io.Writer, r *logql.Result) error {
	e := newEncoder(w)
	e.raw(`{"streams":`)
	e.oldStreams(r.Streams)
	e.raw(`,"stats":`)
	e.stats(&r.Stats)
	e.raw("}\n")
	return e.flush()
}

func (e *encoder) oldStreams(streams []logql.StreamResult) {
	e.byte('[')
	for i := range streams {
		if i > 0 {
			e.byte(',')
		}
		s := &streams[i]
		e.raw(`{"labels":`)
		e.string(s.Labels.String())
		e.raw(`,"entries":[`)
		for j := range s.Entries {
			if j > 0 {
				e.byte(',')
			}
			e.raw(`{"ts":"`)
			e.buf = time.Unix(0, s.Entries[j].Time).UTC().AppendFormat(e.buf, time.RFC3339Nano)
			e.raw(`","line":`)
			e.string(s.Entries[j].Line)
			e.byte('}')
			if !e.check() {
				return
			}
		}
		e.raw(`]}`)
	}
	e.byte(']')
}

// EncodeOldStrings writes a list of labels or values in the shape of the API before version 1.
func EncodeOldStrings(w io.Writer, list []string) error {
	e := newEncoder(w)
	e.raw(`{"values":`)
	e.strings(list)
	e.raw("}\n")
	return e.flush()
}

// AppendTail appends a frame of a tail to dst: new entries, and those that were lost because the reader was slow:
// which, as far as that is known, and the others as entries without labels at time at.
func AppendTail(dst []byte, streams []logql.StreamResult, categorize bool, dropped int, lost []logql.Lost, at time.Time) []byte {
	e := &encoder{buf: dst, whole: true}
	e.raw(`{"streams":[`)
	for i := range streams {
		if i > 0 {
			e.byte(',')
		}
		e.stream(&streams[i], categorize)
	}
	e.byte(']')
	if categorize {
		e.raw(`,"encodingFlags":["categorize-labels"]`)
	}
	e.dropped(dropped, lost, at)
	e.byte('}')
	return e.buf
}

// AppendOldTail is AppendTail in the shape of the API before version 1.
func AppendOldTail(dst []byte, streams []logql.StreamResult, dropped int, lost []logql.Lost, at time.Time) []byte {
	e := &encoder{buf: dst, whole: true}
	e.raw(`{"streams":`)
	e.oldStreams(streams)
	e.dropped(dropped, lost, at)
	e.byte('}')
	return e.buf
}

// dropped writes an element for each of n lost entries. The first are known; of others it is when they were lost.
func (e *encoder) dropped(n int, lost []logql.Lost, at time.Time) {
	if n == 0 {
		return
	}
	e.raw(`,"dropped_entries":[`)
	for i := range min(n, maxDropped) {
		if i > 0 {
			e.byte(',')
		}
		l := logql.Lost{Time: at.UnixNano()}
		if i < len(lost) {
			l = lost[i]
		}
		e.raw(`{"timestamp":"`)
		e.int(l.Time)
		e.raw(`","labels":`)
		e.labels(l.Labels)
		e.byte('}')
	}
	e.byte(']')
}

// maxDropped is how many lost entries a frame lists at most, as in Loki.
const maxDropped = 1000

// EncodeNumbers writes an object of numbers.
func EncodeNumbers(w io.Writer, names []string, numbers []int64) error {
	e := newEncoder(w)
	o := object{e: e}
	for i, name := range names {
		o.int(name, numbers[i])
	}
	o.end()
	e.byte('\n')
	return e.flush()
}

// Shard is a range of hashes of streams, both ends included, and what there is of these streams.
type Shard struct {
	Min, Max                        uint64
	Streams, Chunks, Bytes, Entries int64
}

// EncodeShards writes the answer of the endpoint index/shards.
func EncodeShards(w io.Writer, shards []Shard, s *logql.Stats) error {
	e := newEncoder(w)
	e.raw(`{"shards":[`)
	for i, shard := range shards {
		if i > 0 {
			e.byte(',')
		}
		o := object{e: e}
		o.open("bounds")
		o.uint("min", shard.Min)
		o.uint("max", shard.Max)
		o.close()
		o.open("stats")
		o.int("streams", shard.Streams)
		o.int("chunks", shard.Chunks)
		o.int("bytes", shard.Bytes)
		o.int("entries", shard.Entries)
		o.close()
		o.end()
	}
	e.raw(`],"statistics":`)
	e.stats(s)
	e.raw("}\n")
	return e.flush()
}

// EncodeFields writes an object of strings: names and values in turn.
func EncodeFields(w io.Writer, namesAndValues ...string) error {
	e := newEncoder(w)
	o := object{e: e}
	for i := 0; i+1 < len(namesAndValues); i += 2 {
		o.key(namesAndValues[i])
		e.string(namesAndValues[i+1])
	}
	o.end()
	e.byte('\n')
	return e.flush()
}

// EncodeAny writes a value as encoding/json does, for answers that are small and rare.
func EncodeAny(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }
