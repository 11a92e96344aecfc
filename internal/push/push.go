// Package push decodes the bodies of write requests: Loki's push API as protobuf and JSON, its older
// JSON form, and OTLP logs as protobuf and JSON.
//
// A Decoder reads a body within limits, takes off its compression and turns it into a Request: streams
// of entries whose lines and values are slices of the body. Nothing is copied that can be shared, so a
// Request must be released when its user is done, and nothing of it may be kept after that.
//
// Every error is an *Error of one of three kinds (ErrInvalid, ErrTooLarge, ErrBusy) whose text is meant
// for the client: what was expected, what was found, and where.
package push

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"sync/atomic"

	"example.com/loki/ingester"
)

// Stream is a set of labels, as text or as a set, and entries. See distributor.Stream, which is the
// same type.
type Stream struct {
	// Text is the labels as text, such as {app="api"}. It is used if Labels is nil.
	Text string
	// Labels is the set of labels. Names need not be valid, sorted or unique: the distributor checks
	// them.
	Labels LabelSet
	// Entries are the entries of the stream in any order.
	Entries []ingester.Entry
}

// LabelSet is a set of labels in any order, as a client sent it.
type LabelSet []Label

// Label is a name and a value.
type Label struct{ Name, Value string }

// The kinds of errors.
var (
	// ErrInvalid means that a body cannot be understood; the same body will never be.
	ErrInvalid = errors.New("push: invalid body")
	// ErrTooLarge means that a body is larger than allowed; send it in parts.
	ErrTooLarge = errors.New("push: body too large")
	// ErrBusy means that the bodies that are being decoded take all memory that they may; try again.
	ErrBusy = errors.New("push: too many bodies at once")
)

// Error says why a body was not decoded.
type Error struct {
	Kind error  // ErrInvalid, ErrTooLarge or ErrBusy
	Text string // for the client
}

func (e *Error) Error() string { return e.Text }

// Unwrap makes errors.Is work on the kind.
func (e *Error) Unwrap() error { return e.Kind }

func invalidf(format string, args ...any) error {
	return &Error{Kind: ErrInvalid, Text: fmt.Sprintf(format, args...)}
}

// Limits bound what bodies may cost. In each field 0 means the default.
type Limits struct {
	// MaxBody is the largest body in bytes, as received. The default is 100 MiB.
	MaxBody int64
	// MaxDecompressed is the largest body in bytes after decompression. Lists of streams, entries and
	// metadata made from it may take as much again. The default is 256 MiB.
	MaxDecompressed int64
	// MaxInflight is the memory in bytes that all requests of a Decoder may hold at once. A request
	// that would go beyond it fails with ErrBusy. The default is 640 MiB, and never below twice
	// MaxDecompressed plus MaxBody, and a thirtieth more. The last thirty-second part of it is for small
	// requests (up to 1 MiB by default), so that a few giant ones do not keep all others out.
	MaxInflight int64
}

func (l Limits) withDefaults() Limits {
	l.MaxBody = cmp.Or(l.MaxBody, 100<<20)
	l.MaxDecompressed = cmp.Or(l.MaxDecompressed, 256<<20)
	largest := 2*l.MaxDecompressed + l.MaxBody
	l.MaxInflight = max(cmp.Or(l.MaxInflight, 640<<20), largest+largest/30)
	return l
}

// inflightFor returns how much all requests may hold for one that holds n bytes of it to get them.
func (l Limits) inflightFor(n int64) int64 {
	if n <= l.MaxInflight/640 {
		return l.MaxInflight
	}
	return l.MaxInflight - l.MaxInflight/32
}

// Body is what a Decoder reads.
type Body struct {
	Reader      io.Reader
	Length      int64  // as announced; negative if unknown
	ContentType string // the value of the HTTP header
	Encoding    string // the value of the HTTP header Content-Encoding
}

// Decoder decodes bodies. It may be used from several goroutines.
type Decoder struct {
	limits   Limits
	inflight atomic.Int64
	names    internTable
	requests sync.Pool // *Request
	readers  readerPools
	patterns sync.Map // of attributes of OTLP: a string to its *regexp.Regexp, which is nil if it is none
}

// NewDecoder returns a Decoder with limits.
func NewDecoder(limits Limits) *Decoder {
	return &Decoder{limits: limits.withDefaults()}
}

// Request is a decoded body. Its strings and slices are valid until Release.
type Request struct {
	Streams []Stream
	// Size is the number of bytes of the body as received, Plain after decompression.
	Size, Plain int

	decoder  *Decoder
	reserved int64
	kept     int64 // bytes of reserved that an earlier request left
	lists    int64 // bytes of reserved that are not body

	raw     []byte // the body as received, if it cannot be decompressed while it is read
	plain   []byte
	text    []byte // texts made while decoding
	labels  []Label
	entries []ingester.Entry
	fields  []ingester.Field

	recent [16]string // names of metadata, by nameSlot
}

// keepBytes is the memory that a released request may keep for the next one. Larger ones are rare and
// left to the garbage collector.
const keepBytes = 16 << 20

func (d *Decoder) newRequest() *Request {
	r, _ := d.requests.Get().(*Request)
	if r != nil && d.hold(r.reserved, d.limits.inflightFor(r.reserved)) {
		r.kept = r.reserved
		return r
	}
	return &Request{decoder: d}
}

// hold adds n to what all requests hold, if that stays within limit.
func (d *Decoder) hold(n, limit int64) bool {
	for {
		held := d.inflight.Load()
		if held+n > limit {
			return false
		}
		if d.inflight.CompareAndSwap(held, held+n) {
			return true
		}
	}
}

// Release returns the memory of the request. The request and everything in it must not be used
// afterwards.
func (r *Request) Release() {
	d := r.decoder
	d.inflight.Add(-r.reserved)
	if r.reserved > keepBytes {
		return
	}
	// Pointers into bodies of the past must not keep those alive.
	clear(r.Streams)
	clear(r.labels)
	clear(r.entries)
	clear(r.fields)
	r.Size, r.Plain = 0, 0
	r.raw, r.plain, r.text = r.raw[:0], r.plain[:0], r.text[:0]
	r.Streams, r.labels, r.entries, r.fields = r.Streams[:0], r.labels[:0], r.entries[:0], r.fields[:0]
	d.requests.Put(r)
}

// reserve accounts for n more bytes that the request is about to allocate.
func (r *Request) reserve(n int64) error {
	d := r.decoder
	if r.reserved+n > d.limits.inflightFor(r.reserved+n) {
		return &Error{ErrTooLarge, fmt.Sprintf("the push needs more than %d bytes of memory; send it in smaller parts", d.limits.MaxInflight)}
	}
	if !d.hold(n, d.limits.inflightFor(r.reserved-r.kept+n)) {
		return &Error{ErrBusy, fmt.Sprintf("pushes that are being read take all of %d bytes; try again", d.limits.MaxInflight)}
	}
	r.reserved += n
	return nil
}

// add appends to one of the lists of a request, and accounts for their growth. The first stays
// uncounted against the limit of lists so that tiny limits still permit tiny pushes.
func add[T any](r *Request, list []T, size int64, v T) ([]T, error) {
	if len(list) < cap(list) {
		return append(list, v), nil
	}
	n := max(16, 2*cap(list))
	grown := int64(n-cap(list)) * size
	if n > 1024 && r.lists+grown > r.decoder.limits.MaxDecompressed {
		return nil, &Error{ErrTooLarge, fmt.Sprintf("the push holds too many streams, entries or fields: lists of them take more than %d bytes; send it in smaller parts", r.decoder.limits.MaxDecompressed)}
	}
	if err := r.reserve(grown); err != nil {
		return nil, err
	}
	r.lists += grown
	bigger := make([]T, len(list), n)
	copy(bigger, list)
	return append(bigger, v), nil
}

const (
	streamSize = 64
	labelSize  = 32
	entrySize  = 56
	fieldSize  = 40
)

func (r *Request) addStream(s Stream) (err error) {
	r.Streams, err = add(r, r.Streams, streamSize, s)
	return err
}

func (r *Request) addLabel(name, value string) (err error) {
	r.labels, err = add(r, r.labels, labelSize, Label{name, value})
	return err
}

func (r *Request) addEntry(e ingester.Entry) (err error) {
	r.entries, err = add(r, r.entries, entrySize, e)
	return err
}

func (r *Request) addField(name string, value []byte) (err error) {
	r.fields, err = add(r, r.fields, fieldSize, ingester.Field{Name: name, Value: value})
	return err
}

// fieldsFrom returns the fields added since there were n, for an entry to keep.
func (r *Request) fieldsFrom(n int) []ingester.Field {
	if n == len(r.fields) {
		return nil
	}
	return r.fields[n:len(r.fields):len(r.fields)]
}

// Lists grown later leave earlier slices valid: they point into the smaller list.
func (r *Request) entriesFrom(n int) []ingester.Entry {
	return r.entries[n:len(r.entries):len(r.entries)]
}

func (r *Request) labelsFrom(n int) LabelSet {
	return LabelSet(r.labels[n:len(r.labels):len(r.labels)])
}

// internTable gives one string for equal names, so that names of metadata outlive the body that they
// came with. It forgets everything when it is full.
type internTable struct {
	mu    sync.RWMutex
	names map[string]string
}

const (
	maxInterned    = 8192
	maxInternedLen = 128 // longer names are copied each time
)

func (t *internTable) get(name []byte) string {
	t.mu.RLock()
	s, ok := t.names[string(name)]
	t.mu.RUnlock()
	if ok {
		return s
	}
	s = string(name)
	if len(s) > maxInternedLen {
		return s
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.names == nil || len(t.names) >= maxInterned {
		t.names = make(map[string]string)
	}
	t.names[s] = s
	return s
}

// nameSlot spreads names over Request.recent.
func nameSlot(name []byte) int {
	if len(name) == 0 {
		return 0
	}
	return (len(name) + int(name[0]) + 3*int(name[len(name)-1])) & 15
}

// intern returns a name as a string that outlives the request. Nearly all entries of a push have the
// same few names, so the table that all requests share is rarely asked.
func (r *Request) intern(name []byte) string {
	slot := &r.recent[nameSlot(name)]
	if *slot != string(name) {
		*slot = r.decoder.names.get(name)
	}
	return *slot
}

// maxSeconds is the last second whose nanoseconds all fit.
const maxSeconds = math.MaxInt64/int64(1e9) - 1

// unixNano joins seconds and nanoseconds and reports whether the result is representable.
func unixNano(seconds, nanos int64) (int64, bool) {
	if nanos < 0 || nanos >= 1e9 || seconds > maxSeconds || seconds < -maxSeconds {
		return 0, false
	}
	return seconds*1e9 + nanos, true
}
