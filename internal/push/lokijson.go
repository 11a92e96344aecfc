package push

import (
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"example.com/loki/ingester"
	"example.com/loki/internal/alias"
)

// lokiJSON decodes the JSON form of a push into its request.
type lokiJSON struct {
	scanner
	r     *Request
	first int // the number of entries before the stream that is being read
	at    place
}

// place is where in the body the decoder is, for errors.
type place uint8

const (
	atTop place = iota
	atStream
	atEntry
)

// decodeJSON decodes {"streams":[{"stream":{…},"values":[["ns","line",{…}],…]},…]}, or with old
// {"streams":[{"labels":"{…}","entries":[{"ts":"RFC 3339","line":"…"},…]},…]}. Text after the closing
// brace and unknown fields are ignored, as the reference does.
func (r *Request) decodeJSON(old bool) error {
	j := lokiJSON{scanner: scanner{buf: r.plain}, r: r}
	err := j.body(old)
	if err == nil || j.at == atTop {
		return err
	}
	var known *Error
	if !errors.As(err, &known) || known.Kind != ErrInvalid {
		return err
	}
	where := fmt.Sprintf("stream %d", len(r.Streams)+1)
	if j.at == atEntry {
		where = fmt.Sprintf("entry %d of %s", len(r.entries)-j.first+1, where)
	}
	return invalidf("%s: %s", where, known.Text)
}

func (j *lokiJSON) body(old bool) error {
	if j.space() == 'n' && j.word("null") {
		return nil
	}
	return j.object(`a JSON object like {"streams": [...]}`, func(key []byte) error {
		if string(key) != "streams" {
			_, err := j.skip()
			return err
		}
		j.r.Streams = j.r.Streams[:0] // of duplicate keys the last one counts
		if j.space() == 'n' && j.word("null") {
			return nil
		}
		return j.array(`an array of streams`, func() error {
			j.at, j.first = atStream, len(j.r.entries)
			s, err := j.stream(old)
			if err != nil {
				return err
			}
			j.at = atTop
			return j.r.addStream(s)
		})
	})
}

func (j *lokiJSON) stream(old bool) (Stream, error) {
	var s Stream
	labelsKey, valuesKey := "stream", "values"
	if old {
		labelsKey, valuesKey = "labels", "entries"
	}
	err := j.object(`an object like {"`+labelsKey+`": ..., "`+valuesKey+`": [...]}`, func(key []byte) (err error) {
		switch string(key) {
		case labelsKey:
			if old {
				s.Text, err = j.labelText()
			} else {
				s.Labels, err = j.labelSet()
			}
			return err
		case valuesKey:
			if j.space() == 'n' && j.word("null") {
				return nil
			}
			return j.array(`an array of entries for "`+valuesKey+`"`, func() error {
				j.at = atEntry
				var err error
				if old {
					err = j.oldEntry()
				} else {
					err = j.entry()
				}
				if err == nil {
					j.at = atStream
				}
				return err
			})
		}
		_, err = j.skip()
		return err
	})
	if !old && s.Labels == nil {
		s.Labels = LabelSet{}
	}
	s.Entries = j.r.entriesFrom(j.first)
	return s, err
}

func (j *lokiJSON) labelText() (string, error) {
	start := j.pos
	b, err := j.str(`a string like "{app=\"api\"}" for "labels"`)
	if err == nil && !utf8.Valid(b) {
		err = invalidf("the labels at byte %d are not valid UTF-8", start)
	}
	return alias.String(b), err
}

// labelSet reads the labels of a stream. Numbers, true and false count as their text, null as empty; of
// duplicate names the last one counts.
func (j *lokiJSON) labelSet() (LabelSet, error) {
	from := len(j.r.labels)
	err := j.object(`an object of label names and values for "stream"`, func(key []byte) error {
		name := alias.String(key)
		start := j.pos
		var value []byte
		var err error
		switch c := j.space(); c {
		case '"':
			value, err = j.str("")
		default:
			if value, err = j.scalar("a string"); err != nil {
				err = j.expected(fmt.Sprintf("a string for the label %.100q", name))
			}
			if c == 'n' {
				value = nil
			}
		}
		if err != nil {
			return err
		}
		if !utf8.Valid(key) || !utf8.Valid(value) {
			return invalidf("the label %.100q at byte %d is not valid UTF-8", name, start)
		}
		return j.r.addLabel(name, alias.String(value))
	})
	return j.r.labelsFrom(from), err
}

// entry reads ["ns", "line", {metadata}]; elements after these are ignored. A missing line is empty.
func (j *lokiJSON) entry() error {
	var e ingester.Entry
	from := len(j.r.fields)
	n := 0
	err := j.array(`an array like ["timestamp", "line"]`, func() (err error) {
		n++
		switch n {
		case 1:
			e.Time, err = j.timestamp()
		case 2:
			e.Line, err = j.str("a string for the line")
		case 3:
			err = j.metadata()
		default:
			_, err = j.skip()
		}
		return err
	})
	if err != nil {
		return err
	}
	if n == 0 {
		return invalidf(`expected an array like ["timestamp", "line"], found an empty one before byte %d`, j.pos)
	}
	e.Metadata = j.r.fieldsFrom(from)
	return j.r.addEntry(e)
}

func (j *lokiJSON) metadata() error {
	return j.object("an object of structured metadata", func(key []byte) error {
		if j.space() != '"' {
			return j.expected(fmt.Sprintf("a string as value of the structured metadata %.100q", key))
		}
		value, err := j.str("")
		if err != nil {
			return err
		}
		return j.r.addField(j.r.intern(key), value)
	})
}

// timestamp reads a string of digits: nanoseconds since 1970.
func (j *lokiJSON) timestamp() (int64, error) {
	const want = `a string of digits (nanoseconds since 1970, such as "1767571200000000000") for the timestamp`
	j.space()
	start := j.pos
	b, err := j.str(want)
	if err != nil {
		return 0, err
	}
	if ns, ok := parseNanos(b); ok {
		return ns, nil
	}
	j.pos = start // the error quotes what stands there
	return 0, j.expected(want)
}

func parseNanos(b []byte) (int64, bool) {
	neg := len(b) > 0 && b[0] == '-'
	if neg {
		b = b[1:]
	}
	if len(b) == 0 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' || n > (math.MaxInt64-int64(c-'0'))/10 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if neg {
		n = -n
	}
	return n, true
}

// oldEntry reads {"ts": "RFC 3339", "line": "…"}.
func (j *lokiJSON) oldEntry() error {
	var e ingester.Entry
	from := len(j.r.fields)
	timed := false
	err := j.object(`an object like {"ts": "2026-01-01T00:00:00Z", "line": "..."}`, func(key []byte) (err error) {
		switch string(key) {
		case "ts":
			timed = true
			e.Time, err = j.oldTimestamp()
		case "line":
			e.Line, err = j.str("a string for the line")
		case "structuredMetadata":
			err = j.metadata()
		default:
			_, err = j.skip()
		}
		return err
	})
	if err != nil {
		return err
	}
	if !timed {
		return invalidf(`the field "ts" is missing before byte %d`, j.pos)
	}
	e.Metadata = j.r.fieldsFrom(from)
	return j.r.addEntry(e)
}

// oldTimestamp reads a time in RFC 3339 form.
func (j *lokiJSON) oldTimestamp() (int64, error) {
	const want = `a time like "2026-01-01T00:00:00.5Z" for "ts"`
	j.space()
	start := j.pos
	b, err := j.str(want)
	if err != nil {
		return 0, err
	}
	t, err := time.Parse(time.RFC3339Nano, alias.String(b))
	if err == nil {
		if ns, ok := unixNano(t.Unix(), int64(t.Nanosecond())); ok {
			return ns, nil
		}
	}
	j.pos = start
	return 0, j.expected(want)
}
