package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"text/template"
	"text/template/parse"
)

const (
	// maxTemplateBytes bounds what a template may write, and each string it makes on the way.
	maxTemplateBytes = 1 << 20
	// maxTemplateSteps bounds the work for one line: iterations, calls, and bytes that functions read.
	maxTemplateSteps = 1 << 16
	// bytesPerStep is how many bytes a function may read for one step.
	bytesPerStep = 256

	stepFunc = "__step__"
)

var (
	errTemplateBytes = fmt.Errorf("the template makes more than %d bytes", maxTemplateBytes)
	errTemplateSteps = errors.New("the template does too much work for one line")
)

// lineTemplate is a parsed template of line_format or label_format.
type lineTemplate struct {
	tmpl *template.Template
	list *parse.ListNode // unless nil, pieces can be made of it
	slow bool            // it is more than text, labels and the line, and may fail
	line bool            // the line is read

	fields []string // labels that are read
	all    bool     // all labels may be read
}

// piece is a part of a template that is executed without text/template.
type piece struct {
	kind   pieceKind
	text   string // the text or the label's name
	expr   expr
	choice *choice
}

type pieceKind uint8

const (
	pieceText pieceKind = iota
	pieceLabel
	pieceLine
	pieceExpr
	pieceChoice
)

func parseTemplate(name, s string) (*lineTemplate, error) {
	t, err := template.New(name).Option("missingkey=zero").Funcs(templateFuncs(nil)).Parse(s)
	if err != nil {
		return nil, err
	}
	lt := &lineTemplate{tmpl: t}
	for _, tmpl := range t.Templates() {
		if tmpl.Tree != nil && tmpl.Root != nil {
			lt.inspect(tmpl.Root, true)
		}
	}
	if t.Tree == nil || t.Root == nil { // nothing but definitions, or empty
		return lt, nil
	}
	if len(t.Templates()) == 1 {
		if pieces, ok := compilePieces(t.Root); ok {
			lt.list = t.Root.CopyList() // without meters
			if !slices.ContainsFunc(pieces, func(p piece) bool { return p.kind > pieceLine }) {
				return lt, nil
			}
		}
	}
	lt.slow = true
	for _, tmpl := range t.Templates() {
		if tmpl.Tree != nil && tmpl.Root != nil {
			meter(tmpl.Root)
		}
	}
	return lt, nil
}

func (t *lineTemplate) prepare(n *needs) {
	n.all = n.all || t.all
	for _, f := range t.fields {
		n.add(f)
	}
}

// inspect finds out what a part of a template reads. root tells that the dot is all labels there.
func (t *lineTemplate) inspect(n parse.Node, root bool) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n != nil {
			for _, c := range n.Nodes {
				t.inspect(c, root)
			}
		}
	case *parse.ActionNode:
		t.inspect(n.Pipe, root)
	case *parse.PipeNode:
		if n != nil {
			for _, c := range n.Cmds {
				t.inspect(c, root)
			}
		}
	case *parse.CommandNode:
		for _, a := range n.Args {
			t.inspect(a, root)
		}
	case *parse.FieldNode:
		t.fields = append(t.fields, n.Ident[0])
	case *parse.VariableNode:
		if n.Ident[0] == "$" {
			if len(n.Ident) == 1 {
				t.all = true
			} else {
				t.fields = append(t.fields, n.Ident[1])
			}
		}
	case *parse.DotNode:
		t.all = t.all || root
	case *parse.ChainNode:
		t.inspect(n.Node, root)
	case *parse.IdentifierNode:
		t.line = t.line || n.Ident == "__line__"
	case *parse.IfNode:
		t.inspectBranch(&n.BranchNode, root, root)
	case *parse.WithNode:
		t.inspectBranch(&n.BranchNode, root, false)
	case *parse.RangeNode:
		t.inspectBranch(&n.BranchNode, root, false)
	case *parse.TemplateNode:
		t.inspect(n.Pipe, root)
	}
}

func (t *lineTemplate) inspectBranch(n *parse.BranchNode, root, inside bool) {
	t.inspect(n.Pipe, root)
	t.inspect(n.List, inside)
	t.inspect(n.ElseList, root)
}

// meter puts a call of stepFunc at the beginning of each body that may run many times.
func meter(list *parse.ListNode) {
	if list == nil {
		return
	}
	meterInside(list)
	list.Nodes = append([]parse.Node{stepNode()}, list.Nodes...)
}

func meterInside(list *parse.ListNode) {
	if list == nil {
		return
	}
	for _, n := range list.Nodes {
		switch n := n.(type) {
		case *parse.RangeNode:
			meter(n.List)
			meterInside(n.ElseList)
		case *parse.IfNode:
			meterInside(n.List)
			meterInside(n.ElseList)
		case *parse.WithNode:
			meterInside(n.List)
			meterInside(n.ElseList)
		}
	}
}

// stepNode returns the node of "{{ __step__ }}".
func stepNode() parse.Node {
	call := parse.NewIdentifier(stepFunc)
	cmd := &parse.CommandNode{NodeType: parse.NodeCommand, Args: []parse.Node{call}}
	pipe := &parse.PipeNode{NodeType: parse.NodePipe, Cmds: []*parse.CommandNode{cmd}}
	return &parse.ActionNode{NodeType: parse.NodeAction, Pipe: pipe}
}

// boundTemplate is a template that one worker executes.
type boundTemplate struct {
	pieces []piece
	run    pieceRun
	tmpl   *template.Template // decides what pieces don't; nil if they do everything
	env    *templateEnv
}

func (t *lineTemplate) bind(w *Worker) *boundTemplate {
	b := &boundTemplate{run: pieceRun{w: w}}
	if t.list != nil {
		b.pieces, _ = compilePieces(t.list) // anew, since they have scratch of their own
	}
	if t.slow {
		b.env = &templateEnv{w: w, labels: map[string]string{}}
		if !t.all {
			b.env.fields = t.fields
			if b.env.fields == nil {
				b.env.fields = []string{}
			}
		}
		clone, err := t.tmpl.Clone()
		if err != nil { // only after an execution of the original, which never happens
			clone = t.tmpl
		}
		b.tmpl = clone.Funcs(templateFuncs(b.env))
	}
	return b
}

// append executes the template and appends what it writes to dst.
func (b *boundTemplate) append(dst []byte, w *Worker, line bool) ([]byte, error) {
	if line && len(b.pieces) == 1 && b.pieces[0].kind == pieceLabel && isErrorLabel(b.pieces[0].text) {
		// A line that is one label alone is looked up among the labels, where the row's error is not.
		v, _ := w.labels.get(b.pieces[0].text)
		return append(dst, v...), nil
	}
	if b.tmpl == nil || len(b.pieces) > 0 {
		b.run.made, b.run.work = b.run.made[:0], 0
		if out, ok := b.run.appendPieces(dst, len(dst), b.pieces); ok {
			return out, nil
		}
	}
	if b.tmpl == nil {
		return dst, errTemplateBytes
	}
	return b.env.execute(b.tmpl, dst)
}
