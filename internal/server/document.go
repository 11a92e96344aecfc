package server

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode"

	"gopkg.in/yaml.v3"
)

// Document turns a configuration into what /config prints: structs become maps with the fields' names
// in snake case, or those of their yaml tags; durations are text; functions, channels and other
// interface values, which are collaborators rather than settings, are left out. Fields whose yaml tag
// is "-" and unexported fields are left out too. A *yaml.Node is printed as it is.
func Document(v any) any {
	n := node(reflect.ValueOf(v), 0)
	if n == nil {
		return map[string]any{}
	}
	return n
}

// maxDepth stops at configurations that contain themselves.
const maxDepth = 16

// node returns the YAML of a value, or nil for one that is left out.
func node(v reflect.Value, depth int) *yaml.Node {
	if !v.IsValid() || depth > maxDepth {
		return nil
	}
	switch x := v.Interface().(type) {
	case *yaml.Node: // a document already
		return x
	case time.Duration:
		return text(x.String())
	case time.Time:
		return text(x.Format(time.RFC3339Nano))
	case encoding.TextMarshaler:
		if v.Kind() == reflect.Pointer && v.IsNil() {
			return nil
		}
		b, err := x.MarshalText()
		if err != nil {
			return text(fmt.Sprintf("(%v)", err))
		}
		return text(string(b))
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() || v.Elem().Kind() != reflect.Struct {
			return nil
		}
		return node(v.Elem(), depth+1)
	case reflect.Struct:
		return structNode(v, depth)
	case reflect.Map:
		n := &yaml.Node{Kind: yaml.MappingNode}
		var plain yaml.Node
		if plain.Encode(v.Interface()) == nil { // maps of settings are plain and get sorted by yaml
			return &plain
		}
		return n
	case reflect.Slice, reflect.Array:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range v.Len() {
			if e := node(v.Index(i), depth+1); e != nil {
				n.Content = append(n.Content, e)
			}
		}
		return n
	case reflect.String, reflect.Bool, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n := new(yaml.Node)
		if n.Encode(v.Interface()) != nil {
			return nil
		}
		return n
	}
	return nil // functions, channels, interfaces
}

func structNode(v reflect.Value, depth int) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	t := v.Type()
	exported := 0
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		exported++
		name, opts, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "-" {
			continue
		}
		if name == "" {
			name = snake(f.Name)
		}
		if v.Field(i).Kind() == reflect.Interface {
			continue
		}
		c := node(v.Field(i), depth+1)
		switch {
		case c == nil:
		case strings.Contains(opts, "inline") && c.Kind == yaml.MappingNode:
			n.Content = append(n.Content, c.Content...)
		default:
			n.Content = append(n.Content, text(name), c)
		}
	}
	if exported == 0 && t.NumField() > 0 {
		return nil // a thing, not settings: a logger, a registry
	}
	return n
}

func text(s string) *yaml.Node {
	n := new(yaml.Node)
	n.SetString(s)
	return n
}

// snake turns MaxQueryBytesRead into max_query_bytes_read, and WALSync into wal_sync.
func snake(name string) string {
	rs := []rune(name)
	var b strings.Builder
	for i, r := range rs {
		if unicode.IsUpper(r) && i > 0 &&
			(!unicode.IsUpper(rs[i-1]) || i+1 < len(rs) && unicode.IsLower(rs[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// diff returns what differs in a from b, as a document of the same shape.
func diff(a, b any) any {
	x, ok := a.(*yaml.Node)
	y, ok2 := b.(*yaml.Node)
	if !ok || !ok2 {
		return a
	}
	if d := diffNodes(x, y); d != nil {
		return d
	}
	return map[string]any{}
}

func diffNodes(a, b *yaml.Node) *yaml.Node {
	if a.Kind != yaml.MappingNode || b.Kind != yaml.MappingNode {
		if equal(a, b) {
			return nil
		}
		return a
	}
	out := &yaml.Node{Kind: yaml.MappingNode}
	for i := 0; i+1 < len(a.Content); i += 2 {
		value := a.Content[i+1]
		if was := lookup(b, a.Content[i].Value); was != nil {
			if value = diffNodes(value, was); value == nil {
				continue
			}
		}
		out.Content = append(out.Content, a.Content[i], value)
	}
	if len(out.Content) == 0 {
		return nil
	}
	return out
}

func lookup(m *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return m.Content[i+1]
		}
	}
	return nil
}

func equal(a, b *yaml.Node) bool {
	if a.Kind != b.Kind || a.Value != b.Value || len(a.Content) != len(b.Content) {
		return false
	}
	for i := range a.Content {
		if !equal(a.Content[i], b.Content[i]) {
			return false
		}
	}
	return true
}
