package distributor

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/internal/push"
	"example.com/loki/limits"
	"example.com/loki/logql/syntax"
)

// stream is what the distributor knows of a set of labels.
type stream struct {
	key    string        // in the cache
	labels labels.Labels // with service_name; metadata must not use their names
	hash   uint64
	names  uint64 // a bit for each name
	level  []byte // from its labels, or nil

	// What the labels were checked against: the stream is checked anew when limits change.
	limits *limits.Limits

	refused     Reason // why the stream is refused, or empty
	refusedText string
}

// Labels beyond these sizes are refused unread.
const (
	maxLabelBytes = 1 << 20
	maxLabels     = 10_000
)

const (
	serviceName    = "service_name"
	unknownService = "unknown_service"
	detectedLevel  = "detected_level"
)

// resolve finds out which stream number i of the push is, and keeps it in b.resolved.
func (b *batch) resolve(i int, s *Stream) error {
	size := len(s.Text)
	for j := range s.Labels {
		size += len(s.Labels[j].Name) + len(s.Labels[j].Value)
	}
	switch {
	case size > maxLabelBytes:
		return b.malformed(i, s, fmt.Errorf("they take %d bytes, more than %d", size, maxLabelBytes))
	case len(s.Labels) > maxLabels:
		return b.malformed(i, s, fmt.Errorf("there are %d of them, more than %d", len(s.Labels), maxLabels))
	}
	b.key = appendStreamKey(b.key[:0], b.tenant, s)
	known, hash := b.d.streams.get(b.key)
	if known == nil || known.limits != b.limits {
		if err := b.parseLabels(s); err != nil {
			return b.malformed(i, s, err)
		}
		known = b.newStream()
		b.describe(known)
		if known.refused == "" {
			b.d.streams.offer(b.key, hash, known)
		}
	}
	b.resolved = append(b.resolved, known)
	return nil
}

func appendStreamKey(key []byte, tenant string, s *Stream) []byte {
	key = append(key, tenant...)
	if s.Labels == nil {
		key = append(key, 0, 't')
		return append(key, s.Text...)
	}
	key = append(key, 0, 'l')
	for _, l := range s.Labels {
		key = binary.AppendUvarint(key, uint64(len(l.Name)))
		key = append(key, l.Name...)
		key = binary.AppendUvarint(key, uint64(len(l.Value)))
		key = append(key, l.Value...)
	}
	return key
}

func (b *batch) malformed(i int, s *Stream, err error) error {
	return &LabelsError{Stream: i, Text: labelText(s), Err: err}
}

// labelText prints the beginning of the labels of a stream.
func labelText(s *Stream) string {
	const most = 200
	if s.Labels == nil {
		return clip(strings.ToValidUTF8(s.Text[:min(len(s.Text), 4*most)], "\uFFFD"), most)
	}
	var b strings.Builder
	b.WriteByte('{')
	for i, l := range s.Labels {
		if i > 0 {
			b.WriteString(", ")
		}
		if b.Len() > most {
			break
		}
		b.WriteString(l.Name[:min(len(l.Name), most)] + "=" + strconv.Quote(l.Value[:min(len(l.Value), most)]))
	}
	b.WriteByte('}')
	return clip(strings.ToValidUTF8(b.String(), "\uFFFD"), most)
}

// clip cuts s to about most bytes, between two characters.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most] + "…"
}

// parseLabels puts the labels of a stream, ascending by name, into b.set. They are parts of s.
func (b *batch) parseLabels(s *Stream) (err error) {
	b.set = b.set[:0]
	if s.Labels == nil {
		if !utf8.ValidString(s.Text) {
			return errors.New("they are not valid UTF-8")
		}
		b.set, err = syntax.AppendLabels(b.set, s.Text)
		return err
	}
	for _, l := range s.Labels {
		if !push.ValidName(l.Name) {
			return badName(l.Name)
		}
		if !utf8.ValidString(l.Value) {
			return fmt.Errorf("the value of %s is not valid UTF-8", clip(l.Name, 100))
		}
		b.set = append(b.set, labels.Label(l))
	}
	b.set = syntax.CanonicalLabels(b.set)
	return nil
}

func badName(name string) error {
	const rule = "names consist of letters, digits and underscores, and do not begin with a digit"
	if name == "" {
		return errors.New("a name is empty: " + rule)
	}
	for i, r := range name {
		if ok := r < utf8.RuneSelf && push.ValidName("_"+string(r)); !ok || i == 0 && r >= '0' && r <= '9' {
			return fmt.Errorf("unexpected character %q in the name %q: %s", r, clip(name, 100), rule)
		}
	}
	return fmt.Errorf("the name %q is not valid: %s", clip(name, 100), rule)
}

// describe checks the labels in b.set against the limits of the tenant, adds what is discovered from them, and
// says so in s, which shares no memory with them.
func (b *batch) describe(s *stream) {
	l := b.limits
	s.limits = l
	sent := b.set
	b.full = append(b.full[:0], sent...)
	if len(l.DiscoverServiceName) > 0 && valueOf(sent, serviceName) == "" {
		at, _ := slices.BinarySearchFunc(b.full, serviceName, func(l labels.Label, name string) int { return strings.Compare(l.Name, name) })
		b.full = slices.Insert(b.full, at, labels.Label{Name: serviceName, Value: discoverService(sent, l.DiscoverServiceName)})
	}
	s.labels = labels.New(b.full...)
	// What the server adds itself does not count.
	n := len(sent)
	switch {
	case s.labels.IsEmpty():
		s.refuse(MissingLabels, "error at least one label pair is required per stream")
	case n > l.MaxLabelNamesPerSeries && l.MaxLabelNamesPerSeries > 0:
		s.refuse(TooManyLabels, fmt.Sprintf("entry for stream '%s' has %d label names; limit %d", s.text(), n, l.MaxLabelNamesPerSeries))
	default:
		for _, lbl := range sent {
			switch {
			case s.refused != "":
			case len(lbl.Name) > l.MaxLabelNameLength && l.MaxLabelNameLength > 0:
				s.refuse(LabelNameTooLong, fmt.Sprintf("stream '%s' has label name too long: '%s'", s.text(), clip(lbl.Name, maxTextLen)))
			case len(lbl.Value) > l.MaxLabelValueLength && l.MaxLabelValueLength > 0:
				s.refuse(LabelValueTooLong, fmt.Sprintf("stream '%s' has label value too long: '%s'", s.text(), clip(lbl.Value, maxTextLen)))
			}
		}
	}
	if s.refused != "" {
		return
	}
	s.hash = labels.StableHash(s.labels)
	s.labels.Range(func(l labels.Label) { s.names |= nameBit(l.Name) })
	if b.levels != nil {
		s.level = b.levels.fromLabels(sent)
	}
}

func (s *stream) refuse(reason Reason, text string) { s.refused, s.refusedText = reason, text }

// maxTextLen is how much of one set of labels an error quotes.
const maxTextLen = 4096

// text prints the labels for an error.
func (s *stream) text() string { return clip(s.labels.String(), maxTextLen) }

func discoverService(set []labels.Label, names []string) string {
	for _, name := range names {
		if v := valueOf(set, name); v != "" {
			return v
		}
	}
	return unknownService
}

func valueOf(set []labels.Label, name string) string {
	for i := range set {
		if set[i].Name == name {
			return set[i].Value
		}
	}
	return ""
}

// nameBit is one of 64 bits for a name.
func nameBit(name string) uint64 {
	if name == "" {
		return 1
	}
	return 1 << ((uint(len(name))*7 + uint(name[0])*3 + uint(name[len(name)-1])) & 63)
}

// has reports whether the stream has a label of that name.
func (s *stream) has(name string) bool {
	return s.names&nameBit(name) != 0 && s.labels.Has(name)
}

// free returns name, or if the stream has such a label the name to use instead.
func (s *stream) free(name string) string {
	if s.names&nameBit(name) == 0 {
		return name
	}
	for s.has(name) {
		name += "_extracted"
	}
	return name
}

// cleanName makes a label name of a metadata name. Nearly all entries of a push have the same few names.
func (b *batch) cleanName(name string) string {
	if push.ValidName(name) {
		return name
	}
	if name == "" || len(name) > 1024 {
		return push.CleanName(name)
	}
	known := &b.cleaned[(len(name)+int(name[0])+3*int(name[len(name)-1]))%len(b.cleaned)]
	if known.Name != name {
		*known = Label{Name: name, Value: b.d.names.getOrPut(name, func() string { return push.CleanName(name) })}
	}
	return known.Value
}

// validValue returns value with each run of invalid UTF-8 replaced by U+FFFD.
func validValue(value []byte) []byte {
	if utf8.Valid(value) {
		return value
	}
	return bytes.ToValidUTF8(value, []byte("\uFFFD"))
}
