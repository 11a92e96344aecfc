package config

import (
	"fmt"
	"io"
	"strings"

	"gopkg.in/yaml.v3"
)

// Document returns the configuration as YAML that can be read again.
func (c *Config) Document() *yaml.Node {
	root := &yaml.Node{Kind: yaml.MappingNode}
	for _, g := range groups(c) {
		for _, s := range g.settings {
			if s.key == "" || s.none != nil && s.none() {
				continue
			}
			n := new(yaml.Node)
			if s.encode != nil {
				n = s.encode()
			} else if s.kind == "list" {
				n.Kind = yaml.SequenceNode
				for e := range strings.SplitSeq(s.get(), ",") {
					if e != "" {
						n.Content = append(n.Content, scalar(e, "text"))
					}
				}
			} else {
				n = scalar(s.get(), s.kind)
			}
			place(root, strings.Split(s.key, "."), n)
		}
	}
	return root
}

func scalar(text, kind string) *yaml.Node {
	n := new(yaml.Node)
	n.SetString(text)
	if kind == "number" || kind == "bool" {
		n.Tag = "" // yaml finds out that it needs no quotes
	}
	return n
}

// place puts n below root at a path, making blocks as needed.
func place(root *yaml.Node, path []string, n *yaml.Node) {
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value != path[0] {
			continue
		}
		if len(path) > 1 {
			place(root.Content[i+1], path[1:], n)
		}
		return
	}
	if len(path) > 1 {
		block := &yaml.Node{Kind: yaml.MappingNode}
		place(block, path[1:], n)
		n = block
	}
	root.Content = append(root.Content, scalar(path[0], "text"), n)
}

// WriteYAML writes Document.
func (c *Config) WriteYAML(w io.Writer) error {
	e := yaml.NewEncoder(w)
	if err := e.Encode(c.Document()); err != nil {
		return err
	}
	return e.Close()
}

// WriteHelp explains all settings with their defaults.
func WriteHelp(w io.Writer) {
	for _, g := range groups(Default()) {
		fmt.Fprintf(w, "\n%s\n", g.title)
		for _, s := range g.settings {
			if s.flag == "" {
				continue
			}
			name := "-" + s.flag
			if s.kind != "bool" {
				name += " " + strings.ToUpper(s.kind)
			}
			def := ""
			if v := s.get(); v != "" && v != "false" && len(v) < 30 {
				def = " [" + v + "]"
			}
			fmt.Fprintf(w, "  %-52s %s%s\n", name, s.help, def)
		}
	}
	fmt.Fprintf(w, `
A setting is called the same in the file, in the blocks that Loki's documentation names.
Loki's other flags and keys are accepted and have no effect; a warning lists those that were set.
`)
}
