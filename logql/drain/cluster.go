package drain

import (
	"iter"
	"slices"
	"strings"
)

// cluster is a set of lines that are alike.
type cluster struct {
	template []token
	total    float64
	points   pointList

	leaf         *node
	older, newer *cluster // a ring: newer of the newest is the oldest
}

// node is a place in the tree: on the first floor for a number of tokens, below for the words that
// lines of so many tokens begin with.
type node struct {
	parent   *node
	key      nodeKey
	children map[nodeKey]*node
	clusters []*cluster
}

// nodeKey is a number of tokens, or a word; the zero value is for words with digits and for all that
// find no room of their own.
type nodeKey struct {
	tokens int
	word   string
}

// descend returns the leaf for a line. It may be a new one, which the caller puts a cluster into.
func (m *Miner) descend(tokens []token) *node {
	n := m.tree.child(nodeKey{tokens: len(tokens)}, true)
	depth := 0
	for i := range tokens {
		if depth == m.cfg.Depth {
			break
		}
		t := &tokens[i]
		if !t.isWord() {
			continue
		}
		depth++
		key := nodeKey{}
		if t.kind == word {
			key.word = t.text
		}
		next := n.child(key, len(n.children) < m.cfg.MaxChildren)
		if next == nil {
			next = n.child(nodeKey{}, true)
		}
		n = next
	}
	return n
}

// child returns the child for key. If there is none it is made, or nil returned.
func (n *node) child(key nodeKey, create bool) *node {
	if c := n.children[key]; c != nil {
		return c
	}
	if !create {
		return nil
	}
	if n.children == nil {
		n.children = map[nodeKey]*node{}
	}
	key.word = strings.Clone(key.word) // the line needn't be kept for it
	c := &node{parent: n, key: key}
	n.children[key] = c
	return c
}

// prune takes away a leaf without clusters, and the nodes that lead nowhere else.
func (n *node) prune() {
	for n.parent != nil && len(n.clusters) == 0 && len(n.children) == 0 {
		delete(n.parent.children, n.key)
		n = n.parent
	}
}

// find returns the cluster of a leaf that a line is most like, or nil, and whether its template covers
// the line as it is.
func (m *Miner) find(leaf *node, tokens []token) (best *cluster, exact bool) {
	most := 0.0
	for _, c := range leaf.clusters {
		share, covered := c.similarity(tokens)
		if covered {
			return c, true
		}
		if share >= m.cfg.Similarity && share > most {
			best, most = c, share
		}
	}
	return best, false
}

// similarity returns the share of words in which a line of as many tokens agrees with the template,
// and whether the template already covers it.
func (c *cluster) similarity(tokens []token) (share float64, covered bool) {
	same, differ := 0, 0
	covered = true
	for i := range c.template {
		t, o := &c.template[i], &tokens[i]
		switch {
		case t.kind == gap:
			if o.kind == word {
				differ++
			}
		case t.text == o.text:
			if t.kind == word {
				same++
			}
		case t.kind == number && o.kind == number, t.kind == blank && o.kind == blank:
			covered = false
		default:
			differ++
			covered = false
		}
	}
	if differ == 0 {
		return 1, covered
	}
	return float64(same) / float64(same+differ), covered
}

// generalize puts wildcards where the line differs from the template.
func (c *cluster) generalize(tokens []token) {
	for i := range c.template {
		if t := &c.template[i]; t.kind != gap && t.text != tokens[i].text {
			*t = token{kind: gap}
		}
	}
}

// insert begins a cluster.
func (m *Miner) insert(leaf *node, tokens []token) *cluster {
	// One copy of the line for all tokens.
	n := 0
	for i := range tokens {
		if tokens[i].kind != gap {
			n += len(tokens[i].text)
		}
	}
	var text strings.Builder
	text.Grow(n)
	for i := range tokens {
		if tokens[i].kind != gap {
			text.WriteString(tokens[i].text)
		}
	}
	rest := text.String()
	c := &cluster{template: make([]token, len(tokens)), leaf: leaf}
	for i, t := range tokens {
		c.template[i].kind = t.kind
		if t.kind != gap {
			c.template[i].text, rest = rest[:len(t.text)], rest[len(t.text):]
		}
	}
	leaf.clusters = append(leaf.clusters, c)
	m.size++
	for m.size > m.cfg.MaxClusters && m.newest != nil {
		m.evict(m.newest.newer)
	}
	return c
}

// evict forgets a cluster.
func (m *Miner) evict(c *cluster) {
	m.size--
	m.evicted += c.total
	m.unlink(c)
	leaf := c.leaf
	i := slices.Index(leaf.clusters, c)
	leaf.clusters = slices.Delete(leaf.clusters, i, i+1)
	leaf.prune()
}

// use makes c the newest cluster.
func (m *Miner) use(c *cluster) {
	if m.newest == c {
		return
	}
	if c.newer != nil {
		m.unlink(c)
	}
	if m.newest == nil {
		c.older, c.newer = c, c
	} else {
		c.older, c.newer = m.newest, m.newest.newer
		c.older.newer, c.newer.older = c, c
	}
	m.newest = c
}

func (m *Miner) unlink(c *cluster) {
	if c.newer == c {
		m.newest = nil
	} else {
		c.older.newer, c.newer.older = c.newer, c.older
		if m.newest == c {
			m.newest = c.older
		}
	}
	c.older, c.newer = nil, nil
}

// clusters yields all clusters, newest first.
func (m *Miner) clusters() iter.Seq[*cluster] {
	return func(yield func(*cluster) bool) {
		c := m.newest
		for range m.size {
			if !yield(c) {
				return
			}
			c = c.older
		}
	}
}

// text returns the pattern of a cluster, and whether there is a word in it. Wildcards side by side are
// one.
func (c *cluster) text() (string, bool) {
	var b strings.Builder
	words, wild := false, false
	for _, t := range c.template {
		if t.kind == gap {
			if !wild {
				b.WriteString(Wildcard)
			}
			wild = true
			continue
		}
		wild = false
		words = words || t.says()
		b.WriteString(t.text)
	}
	return b.String(), words
}
