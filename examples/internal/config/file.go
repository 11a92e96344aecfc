package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxNodes bounds what aliases can blow a file up to.
const maxNodes = 100_000

// applyYAML sets what a file says and collects what it means nothing of.
func (l *loader) applyYAML(text []byte) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return err
	}
	if len(doc.Content) == 0 {
		return nil // empty
	}
	w := &walker{loader: l}
	w.block(doc.Content[0], "")
	return errors.Join(w.errs...)
}

type walker struct {
	*loader
	errs  []error
	nodes int
}

func (w *walker) fail(n *yaml.Node, format string, args ...any) {
	w.errs = append(w.errs, fmt.Errorf("line %d: %w", n.Line, fmt.Errorf(format, args...)))
}

// enter follows aliases and tells whether the walk may go on.
func (w *walker) enter(n *yaml.Node) (*yaml.Node, bool) {
	if w.nodes++; w.nodes > maxNodes {
		if w.nodes == maxNodes+1 {
			w.fail(n, "the file is too large, or its aliases make it so")
		}
		return n, false
	}
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n, true
}

// block walks a mapping of settings whose path is prefix.
func (w *walker) block(n *yaml.Node, prefix string) {
	n, ok := w.enter(n)
	if !ok || isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		w.fail(n, "%sexpected settings as \"name: value\"", label(prefix))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Tag == "!!merge" {
			w.block(value, prefix)
			continue
		}
		path := key.Value
		if prefix != "" {
			path = prefix + "." + path
		}
		if seen[path] {
			w.fail(key, "%s is there twice", path)
			continue
		}
		seen[path] = true
		w.entry(key, value, path)
	}
}

// entry handles one setting or the block below it.
func (w *walker) entry(key, n *yaml.Node, path string) {
	n, ok := w.enter(n)
	if !ok {
		return
	}
	s, ours := w.byKey[path]
	children, theirs := w.keys[path]
	switch {
	case ours:
		w.set(n, s)
	case cannotIgnore()[path] != "" && n.Value != "":
		w.fail(key, "%s can't be honoured: %s", path, cannotIgnore()[path])
	case theirs && (n.Kind == yaml.ScalarNode || children || n.Kind == yaml.SequenceNode):
		if n.Kind == yaml.ScalarNode && (isNull(n) || moot()[path] == n.Value) {
			return
		}
		w.c.Ignored = append(w.c.Ignored, path)
	case w.isBlock(path):
		w.block(n, path)
	case w.isBlock(path + "[]"):
		w.list(n, path)
	default:
		w.unknownKey(key, path)
	}
}

// list walks a list of blocks, such as schema_config.configs.
func (w *walker) list(n *yaml.Node, path string) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		w.fail(n, "%s must be a list", path)
		return
	}
	for _, e := range n.Content {
		w.block(e, path+"[]")
		if path == "schema_config.configs" {
			w.checkObjectStore(e)
		}
	}
}

// checkObjectStore refuses a schema that wants its data elsewhere than in files or in S3: writing it to
// files all the same is not what was asked for. The last schema counts.
func (w *walker) checkObjectStore(n *yaml.Node) {
	var schema struct {
		ObjectStore string `yaml:"object_store"`
	}
	if n.Decode(&schema) != nil || schema.ObjectStore == "" {
		return
	}
	switch schema.ObjectStore {
	case "filesystem":
		w.c.objectStore = "filesystem"
	case "s3", "aws":
		w.c.objectStore = "s3"
	default:
		w.fail(n, "object_store %q is not available here; use s3 or filesystem", schema.ObjectStore)
	}
}

func (w *walker) set(n *yaml.Node, s setting) {
	switch {
	case isNull(n):
	case s.decode != nil:
		if err := s.decode(n); err != nil {
			w.fail(n, "%s: %w", s.key, err)
		}
	case n.Kind == yaml.ScalarNode:
		if err := s.set(n.Value); err != nil {
			w.fail(n, "%s: %w", s.key, err)
		}
	case n.Kind == yaml.SequenceNode && s.kind == "list":
		s.zero()
		for _, e := range n.Content {
			e, ok := w.enter(e)
			if !ok {
				return
			}
			if e.Kind != yaml.ScalarNode {
				w.fail(e, "%s: expected a list of texts", s.key)
				continue
			}
			_ = s.add(e.Value) // takes any text
		}
	default:
		w.fail(n, "%s: expected a %s", s.key, s.kind)
	}
}

// isBlock tells whether there are settings below a path.
func (w *walker) isBlock(path string) bool {
	path += "."
	for k := range w.keys {
		if strings.HasPrefix(k, path) {
			return true
		}
	}
	for k := range w.byKey {
		if strings.HasPrefix(k, path) {
			return true
		}
	}
	return false
}

func (w *walker) unknownKey(key *yaml.Node, path string) {
	names := slices.AppendSeq(slices.Collect(maps.Keys(w.byKey)), maps.Keys(w.keys))
	for _, n := range slices.Clone(names) { // blocks can be misspelt too
		for b, _ := split(n); b != ""; b, _ = split(b) {
			names = append(names, b)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if n := nearest(path, names); n != "" {
		w.fail(key, "unknown key %s; did you mean %s?", path, n)
		return
	}
	w.fail(key, "unknown key %s", path)
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func label(path string) string {
	if path == "" {
		return ""
	}
	return path + ": "
}
