package wire

import (
	"slices"

	"example.com/loki/internal/alias"
	"example.com/loki/internal/wire/wirepb"
)

// EntriesWriter collects entries into a message, column by column. The zero value is ready.
type EntriesWriter struct {
	msg   *wirepb.Entries
	names map[string]uint32
	last  uint32 // the name of the last field: rows tend to have the same ones
	size  int
}

// Reserve makes room for entries and bytes of lines.
func (w *EntriesWriter) Reserve(entries, lineBytes int) {
	m := w.message()
	m.Times = slices.Grow(m.Times, entries)
	m.Lengths = slices.Grow(m.Lengths, entries)
	m.Lines = slices.Grow(m.Lines, lineBytes)
}

func (w *EntriesWriter) message() *wirepb.Entries {
	if w.msg == nil {
		w.msg = &wirepb.Entries{}
	}
	return w.msg
}

// Add begins an entry.
func (w *EntriesWriter) Add(t int64, line []byte) {
	m := w.message()
	m.Times = append(m.Times, t)
	m.Lengths = append(m.Lengths, uint32(len(line)))
	m.Lines = append(m.Lines, line...)
	if m.FieldCounts != nil {
		m.FieldCounts = append(m.FieldCounts, 0)
	}
	w.size += 10 + len(line)
}

// Field adds a field of metadata to the entry that was begun last.
func (w *EntriesWriter) Field(name string, value []byte) {
	m := w.msg
	if m.FieldCounts == nil {
		m.FieldCounts = make([]uint32, len(m.Times), cap(m.Times))
	}
	m.FieldCounts[len(m.FieldCounts)-1]++
	m.FieldNames = append(m.FieldNames, w.name(name))
	m.ValueLengths = append(m.ValueLengths, uint32(len(value)))
	m.Values = append(m.Values, value...)
	w.size += 4 + len(value)
}

// name returns the number of a name. Entries have the same names in the same order more often than not.
func (w *EntriesWriter) name(s string) uint32 {
	m := w.msg
	for _, guess := range [2]uint32{w.last + 1, 0} {
		if int(guess) < len(m.Names) && alias.String(m.Names[guess]) == s {
			w.last = guess
			return guess
		}
	}
	n, ok := w.names[s]
	if !ok {
		if w.names == nil {
			w.names = map[string]uint32{}
		}
		n = uint32(len(m.Names))
		m.Names = append(m.Names, alias.Bytes(s))
		w.names[s] = n
		w.size += len(s) + 2
	}
	w.last = n
	return n
}

// Size is about how many bytes the message takes.
func (w *EntriesWriter) Size() int { return w.size }

// Take returns the message and begins a new one. The message refers to the names of fields, to nothing
// else that was given.
func (w *EntriesWriter) Take() *wirepb.Entries {
	m := w.message()
	*w = EntriesWriter{}
	return m
}

// EntriesReader reads what an EntriesWriter has written. What it returns are slices of the message.
type EntriesReader struct {
	msg   *wirepb.Entries
	row   int
	line  int // offset in lines
	field int // the next one
	value int // offset in values
}

// ReadEntries checks a message, so that the methods of the reader cannot fail.
func ReadEntries(m *wirepb.Entries) (*EntriesReader, error) {
	if m == nil {
		m = &wirepb.Entries{}
	}
	if len(m.Lengths) != len(m.Times) {
		return nil, Malformed("%d lines at %d times", len(m.Lengths), len(m.Times))
	}
	if n := sum(m.Lengths); n != len(m.Lines) {
		return nil, Malformed("lines of %d bytes in %d", n, len(m.Lines))
	}
	if len(m.FieldCounts) != 0 && len(m.FieldCounts) != len(m.Times) {
		return nil, Malformed("%d sets of metadata for %d entries", len(m.FieldCounts), len(m.Times))
	}
	if n := sum(m.FieldCounts); n != len(m.FieldNames) || n != len(m.ValueLengths) {
		return nil, Malformed("%d fields with %d names and %d values", n, len(m.FieldNames), len(m.ValueLengths))
	}
	if n := sum(m.ValueLengths); n != len(m.Values) {
		return nil, Malformed("values of %d bytes in %d", n, len(m.Values))
	}
	for _, n := range m.FieldNames {
		if int(n) >= len(m.Names) {
			return nil, Malformed("name %d of %d", n, len(m.Names))
		}
	}
	return &EntriesReader{msg: m}, nil
}

func sum(list []uint32) int {
	n := 0
	for _, x := range list {
		n += int(x)
	}
	return n
}

// Entries is the number of entries.
func (r *EntriesReader) Entries() int { return len(r.msg.Times) }

// Fields is the number of fields of all entries.
func (r *EntriesReader) Fields() int { return len(r.msg.FieldNames) }

// Names returns the names of fields as strings: Next's field names are indexes of it.
func (r *EntriesReader) Names() []string { return ToStrings(r.msg.Names) }

// Left is the number of entries that Next has not returned yet.
func (r *EntriesReader) Left() int { return len(r.msg.Times) - r.row }

// Next returns the next entry and how many fields it has. There must be one left, and the fields of the
// one before must have been read.
func (r *EntriesReader) Next() (t int64, line []byte, fields int) {
	m := r.msg
	t = m.Times[r.row]
	end := r.line + int(m.Lengths[r.row])
	line = m.Lines[r.line:end:end]
	r.line = end
	if len(m.FieldCounts) > 0 {
		fields = int(m.FieldCounts[r.row])
	}
	r.row++
	return t, line, fields
}

// Field returns the next field of the entry: the number of its name and its value.
func (r *EntriesReader) Field() (name uint32, value []byte) {
	m := r.msg
	end := r.value + int(m.ValueLengths[r.field])
	name, value = m.FieldNames[r.field], m.Values[r.value:end:end]
	r.field++
	r.value = end
	return name, value
}
