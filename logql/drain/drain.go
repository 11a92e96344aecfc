// Package drain finds the patterns of log lines: what many lines have in common, with <_> where they
// differ.
//
// It follows the drain algorithm (He et al., "Drain: An Online Log Parsing Approach with Fixed Depth
// Tree", ICWS 2017). A line is cut into tokens. A tree leads by the number of tokens and by the first
// words to a few clusters of lines; the line joins the one it is most like, whose template gets a
// wildcard wherever the two differ, or else begins a cluster of its own. Each line is seen once, and
// memory is bounded: the cluster that was longest without a line makes room for a new one.
//
// A pattern is one that a |> filter takes, and that filter keeps every line that was counted for it.
// That holds as long as the literal text around the wildcards does not occur within them, too.
package drain

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Wildcard is the part of a pattern that stands for any text, of one byte or more.
const Wildcard = "<_>"

// Config of a Miner. The zero value is a good default.
type Config struct {
	// MaxClusters bounds how many clusters are held at once. 0 means 300.
	MaxClusters int

	// MaxLine is how many bytes of a line are looked at; the rest becomes a wildcard, as do all lines
	// of an entry but the first. 0 means 2048.
	MaxLine int

	// Depth is how many words at the start of a line decide which clusters it is compared with. 0 means
	// 1, negative none: such words are mostly the same or all different, and similarity does the rest.
	Depth int

	// MaxChildren bounds how many different words are told apart at one place of the tree. 0 means 16.
	MaxChildren int

	// Similarity is the share of words in which a line must agree with a cluster to join it. Words with
	// digits on both sides don't count, as they differ from line to line anyway. 0 means 0.6; it is at
	// most 1.
	Similarity float64
}

func (c Config) check() (Config, error) {
	c.MaxClusters = cmp.Or(c.MaxClusters, 300)
	c.MaxLine = cmp.Or(c.MaxLine, 2048)
	c.Depth = max(cmp.Or(c.Depth, 1), 0)
	c.MaxChildren = cmp.Or(c.MaxChildren, 16)
	c.Similarity = cmp.Or(c.Similarity, 0.6)
	var errs []error
	for _, n := range []struct {
		name  string
		value int
	}{{"MaxClusters", c.MaxClusters}, {"MaxLine", c.MaxLine}, {"MaxChildren", c.MaxChildren}} {
		if n.value < 1 {
			errs = append(errs, fmt.Errorf("%s is %d; it must be positive", n.name, n.value))
		}
	}
	if !(c.Similarity > 0 && c.Similarity <= 1) {
		errs = append(errs, fmt.Errorf("Similarity is %v; it must be above 0 and at most 1", c.Similarity))
	}
	return c, errors.Join(errs...)
}

// Pattern is what the lines of a cluster have in common.
type Pattern struct {
	Text   string
	Total  float64 // weight of all lines
	Points []Point // ascending times
}

// Point is the weight of the lines that were added with one time.
type Point struct {
	Time   int64
	Weight float64
}

// Miner learns patterns line by line. One goroutine uses it at a time.
type Miner struct {
	cfg     Config
	tree    node
	size    int      // clusters
	newest  *cluster // of the list in the order of use, a ring
	evicted float64

	tokens []token // of the line at hand
}

// New returns a miner that has seen nothing. The error says what is wrong with the configuration.
func New(cfg Config) (*Miner, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("drain: %w", err)
	}
	return &Miner{cfg: cfg}, nil
}

// Add counts a line, weight times, for the time at. The miner keeps no reference to the line. Lines
// without any word are left out.
//
// The points of a pattern take memory for each different time, so round times to the step of interest.
func (m *Miner) Add(line string, at int64, weight float64) {
	tokens, words := tokenize(m.tokens[:0], line, m.cfg.MaxLine)
	m.tokens = tokens
	if words == 0 {
		return
	}
	leaf := m.descend(tokens)
	c, exact := m.find(leaf, tokens)
	switch {
	case c == nil:
		c = m.insert(leaf, tokens)
	case !exact:
		c.generalize(tokens)
	}
	m.use(c)
	c.total += weight
	c.points.add(at, weight)
}

// Evicted returns the weight of the lines whose clusters had to make room.
func (m *Miner) Evicted() float64 { return m.evicted }

// Patterns returns what has been found so far, the heaviest first. Clusters that have come to the same
// text are one pattern. A cluster whose lines have nothing in common but blanks and punctuation is no
// pattern.
func (m *Miner) Patterns() []Pattern {
	byText := make(map[string]*Pattern, m.size)
	for c := range m.clusters() {
		text, ok := c.text()
		if !ok {
			continue
		}
		p := byText[text]
		if p == nil {
			p = &Pattern{Text: text}
			byText[text] = p
		}
		c.points = c.points.sorted()
		p.Total += c.total
		p.Points = append(p.Points, c.points...)
	}
	all := make([]Pattern, 0, len(byText))
	for _, p := range byText {
		p.Points = pointList(p.Points).sorted()
		all = append(all, *p)
	}
	slices.SortFunc(all, func(a, b Pattern) int {
		return cmp.Or(cmp.Compare(b.Total, a.Total), strings.Compare(a.Text, b.Text))
	})
	return all
}

// pointList collects points. Lines mostly come in order, so the point that is wanted is the last one;
// otherwise it may hold several points of a time, and is put in order from time to time.
type pointList []Point

func (l *pointList) add(at int64, weight float64) {
	list := *l
	if n := len(list); n > 0 && list[n-1].Time == at {
		list[n-1].Weight += weight
		return
	}
	if n := len(list); n >= 64 && n == cap(list) {
		// Sorting is paid for by the growth that it often saves.
		if list = list.sorted(); len(list) > n/2 {
			list = slices.Grow(list, n)
		}
	}
	*l = append(list, Point{Time: at, Weight: weight})
}

// sorted puts the points in order, in place, one for each time.
func (l pointList) sorted() pointList {
	slices.SortFunc(l, func(a, b Point) int { return cmp.Compare(a.Time, b.Time) })
	out := l[:0]
	for _, p := range l {
		if n := len(out); n > 0 && out[n-1].Time == p.Time {
			out[n-1].Weight += p.Weight
			continue
		}
		out = append(out, p)
	}
	return out
}
