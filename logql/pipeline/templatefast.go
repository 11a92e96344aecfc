package pipeline

import (
	"strings"
	"text/template/parse"
	"unicode/utf8"
)

// Most templates put labels together, change their case, cut, replace and choose. Those are compiled to
// pieces and executed here, without text/template, which allocates for each call. What a piece can't do,
// above all anything that is an error, is left to text/template, so that there is one truth about errors
// and limits.

// expr computes a string from a row; ok is false if text/template has to decide.
type expr func(r *pieceRun) (s string, ok bool)

// choice is an if in a template.
type choice struct {
	cond        expr // a string that is not empty is true, as for text/template
	then, other []piece
}

// pieceRun is one execution of pieces.
type pieceRun struct {
	w    *Worker
	made []byte // strings that functions have made
	work int    // bytes that functions have read
}

// pay notes work on some bytes and tells whether it was not too much.
func (r *pieceRun) pay(bytes int) bool {
	r.work += bytes + bytesPerStep
	return bytes <= maxTemplateBytes && r.work <= maxTemplateSteps*bytesPerStep
}

// own returns what has been appended to made since it had n bytes.
func (r *pieceRun) own(n int) string { return text(r.made[n:len(r.made):len(r.made)]) }

// appendPieces executes pieces; ok is false if text/template has to decide.
func (r *pieceRun) appendPieces(dst []byte, start int, pieces []piece) (_ []byte, ok bool) {
	for i := range pieces {
		p := &pieces[i]
		s, ok := p.text, true
		switch p.kind {
		case pieceText:
		case pieceLabel:
			s = r.w.groupValue(p.text)
		case pieceLine:
			s = text(r.w.line)
		case pieceExpr:
			s, ok = p.expr(r)
		case pieceChoice:
			var cond string
			if cond, ok = p.choice.cond(r); !ok {
				return dst, false
			}
			chosen := p.choice.other
			if cond != "" {
				chosen = p.choice.then
			}
			if dst, ok = r.appendPieces(dst, start, chosen); !ok {
				return dst, false
			}
			continue
		}
		if !ok || len(dst)-start+len(s) > maxTemplateBytes {
			return dst, false
		}
		dst = append(dst, s...)
	}
	return dst, true
}

// compilePieces makes pieces of a list of nodes; ok is false if there is more in it than pieces can do.
func compilePieces(list *parse.ListNode) (pieces []piece, ok bool) {
	if list == nil {
		return nil, true
	}
	for _, n := range list.Nodes {
		switch n := n.(type) {
		case *parse.TextNode:
			pieces = append(pieces, piece{kind: pieceText, text: string(n.Text)})
		case *parse.ActionNode:
			p, ok := compileAction(n.Pipe)
			if !ok {
				return nil, false
			}
			pieces = append(pieces, p)
		case *parse.IfNode:
			cond, ok := compilePipe(n.Pipe, compileTest)
			if !ok {
				return nil, false
			}
			then, ok := compilePieces(n.List)
			if !ok {
				return nil, false
			}
			other, ok := compilePieces(n.ElseList)
			if !ok {
				return nil, false
			}
			pieces = append(pieces, piece{kind: pieceChoice, choice: &choice{cond, then, other}})
		case *parse.CommentNode:
		default:
			return nil, false
		}
	}
	return pieces, true
}

func compileAction(pipe *parse.PipeNode) (piece, bool) {
	if len(pipe.Decl) == 0 && len(pipe.Cmds) == 1 && len(pipe.Cmds[0].Args) == 1 {
		switch a := pipe.Cmds[0].Args[0].(type) {
		case *parse.FieldNode:
			return piece{kind: pieceLabel, text: a.Ident[0]}, len(a.Ident) == 1
		case *parse.IdentifierNode:
			return piece{kind: pieceLine}, a.Ident == "__line__"
		}
	}
	e, ok := compilePipe(pipe, compileCall)
	return piece{kind: pieceExpr, expr: e}, ok
}

// compilePipe compiles a pipeline whose last command last compiles.
func compilePipe(pipe *parse.PipeNode, last func(name string, args []parse.Node, piped expr) (expr, bool)) (expr, bool) {
	if len(pipe.Decl) > 0 || len(pipe.Cmds) == 0 {
		return nil, false
	}
	var piped expr
	for i, cmd := range pipe.Cmds {
		call := compileCall
		if i == len(pipe.Cmds)-1 {
			call = last
		}
		var e expr
		ok := false
		if id, is := cmd.Args[0].(*parse.IdentifierNode); is && id.Ident != "__line__" {
			e, ok = call(id.Ident, cmd.Args[1:], piped)
		} else if len(cmd.Args) == 1 && piped == nil {
			e, ok = compileValue(cmd.Args[0], last)
		}
		if !ok {
			return nil, false
		}
		piped = e
	}
	return piped, true
}

// compileValue compiles what may stand as an argument.
func compileValue(n parse.Node, inner func(string, []parse.Node, expr) (expr, bool)) (expr, bool) {
	switch n := n.(type) {
	case *parse.FieldNode:
		name := n.Ident[0]
		return func(r *pieceRun) (string, bool) { return r.w.groupValue(name), true }, len(n.Ident) == 1
	case *parse.StringNode:
		s := n.Text
		return func(*pieceRun) (string, bool) { return s, true }, true
	case *parse.IdentifierNode:
		return func(r *pieceRun) (string, bool) { return text(r.w.line), true }, n.Ident == "__line__"
	case *parse.PipeNode:
		return compilePipe(n, inner)
	}
	return nil, false
}

// operands are the compiled arguments of a call: numbers first, then strings, the last of which may have
// been piped.
type operands struct {
	numbers []int
	strings []expr
}

// compileOperands compiles arguments: constant numbers where a # is in the signature, strings where an s is.
func compileOperands(signature string, args []parse.Node, piped expr, inner func(string, []parse.Node, expr) (expr, bool)) (o operands, ok bool) {
	n := len(args)
	if piped != nil {
		n++
	}
	if n != len(signature) {
		return o, false
	}
	for i, kind := range signature {
		switch {
		case kind == '#':
			if i >= len(args) {
				return o, false
			}
			number, is := args[i].(*parse.NumberNode)
			if !is || !number.IsInt || int64(int(number.Int64)) != number.Int64 {
				return o, false
			}
			o.numbers = append(o.numbers, int(number.Int64))
		case i < len(args):
			e, ok := compileValue(args[i], inner)
			if !ok {
				return o, false
			}
			o.strings = append(o.strings, e)
		default:
			o.strings = append(o.strings, piped)
		}
	}
	return o, true
}

// with makes an expr of a function of the evaluated strings.
func (o operands) with(f func(r *pieceRun, s []string) (string, bool)) expr {
	values := make([]string, len(o.strings)) // one worker executes an expr at a time: see bind
	return func(r *pieceRun) (string, bool) {
		size := 0
		for i, e := range o.strings {
			s, ok := e(r)
			if !ok {
				return "", false
			}
			values[i] = s
			size += len(s)
		}
		if !r.pay(size) {
			return "", false
		}
		return f(r, values)
	}
}

// compileCall compiles a function that makes a string.
func compileCall(name string, args []parse.Node, piped expr) (expr, bool) {
	signature := map[string]string{
		"lower": "s", "ToLower": "s", "upper": "s", "ToUpper": "s", "trim": "s", "TrimSpace": "s",
		"trimAll": "ss", "trimPrefix": "ss", "trimSuffix": "ss", "Trim": "ss", "TrimLeft": "ss", "TrimRight": "ss",
		"TrimPrefix": "ss", "TrimSuffix": "ss", "default": "ss", "replace": "sss", "trunc": "#s", "substr": "##s",
		"alignLeft": "#s", "alignRight": "#s",
	}[name]
	o, ok := compileOperands(signature, args, piped, compileCall)
	if !ok || signature == "" {
		return nil, false
	}
	good := func(f func(s []string) string) func(*pieceRun, []string) (string, bool) {
		return func(_ *pieceRun, s []string) (string, bool) { return f(s), true }
	}
	switch name {
	case "lower", "ToLower":
		return o.with(func(r *pieceRun, s []string) (string, bool) { return r.fold(s[0], 'A', 'Z', strings.ToLower), true }), true
	case "upper", "ToUpper":
		return o.with(func(r *pieceRun, s []string) (string, bool) { return r.fold(s[0], 'a', 'z', strings.ToUpper), true }), true
	case "trim", "TrimSpace":
		return o.with(good(func(s []string) string { return strings.TrimSpace(s[0]) })), true
	case "trimAll":
		return o.with(good(func(s []string) string { return strings.Trim(s[1], s[0]) })), true
	case "trimPrefix":
		return o.with(good(func(s []string) string { return strings.TrimPrefix(s[1], s[0]) })), true
	case "trimSuffix":
		return o.with(good(func(s []string) string { return strings.TrimSuffix(s[1], s[0]) })), true
	case "Trim":
		return o.with(good(func(s []string) string { return strings.Trim(s[0], s[1]) })), true
	case "TrimLeft":
		return o.with(good(func(s []string) string { return strings.TrimLeft(s[0], s[1]) })), true
	case "TrimRight":
		return o.with(good(func(s []string) string { return strings.TrimRight(s[0], s[1]) })), true
	case "TrimPrefix":
		return o.with(good(func(s []string) string { return strings.TrimPrefix(s[0], s[1]) })), true
	case "TrimSuffix":
		return o.with(good(func(s []string) string { return strings.TrimSuffix(s[0], s[1]) })), true
	case "default":
		return o.with(good(func(s []string) string {
			if s[1] == "" {
				return s[0]
			}
			return s[1]
		})), true
	case "replace":
		return o.with(func(r *pieceRun, s []string) (string, bool) { return r.replace(s[2], s[0], s[1]) }), true
	case "trunc":
		return o.with(good(func(s []string) string { return truncate(o.numbers[0], s[0]) })), true
	case "substr":
		return o.with(func(_ *pieceRun, s []string) (string, bool) {
			out, err := substring(o.numbers[0], o.numbers[1], s[0])
			return out, err == nil
		}), true
	default: // alignLeft, alignRight
		left := name == "alignLeft"
		return o.with(func(r *pieceRun, s []string) (string, bool) { return r.align(o.numbers[0], s[0], left) }), true
	}
}

// truth is what a test that is true gives.
const truth = "true"

// compileTest compiles the condition of an if: a function whose outcome nobody prints.
func compileTest(name string, args []parse.Node, piped expr) (expr, bool) {
	var test func(s []string) bool
	signature := "ss"
	switch name {
	case "eq":
		test = func(s []string) bool { return s[0] == s[1] }
	case "ne":
		test = func(s []string) bool { return s[0] != s[1] }
	case "contains":
		test = func(s []string) bool { return strings.Contains(s[1], s[0]) }
	case "hasPrefix":
		test = func(s []string) bool { return strings.HasPrefix(s[1], s[0]) }
	case "hasSuffix":
		test = func(s []string) bool { return strings.HasSuffix(s[1], s[0]) }
	case "not", "and", "or":
		return compileLogic(name, args, piped)
	default:
		return compileCall(name, args, piped)
	}
	o, ok := compileOperands(signature, args, piped, compileCall)
	if !ok {
		return nil, false
	}
	return o.with(func(_ *pieceRun, s []string) (string, bool) {
		if test(s) {
			return truth, true
		}
		return "", true
	}), true
}

func compileLogic(name string, args []parse.Node, piped expr) (expr, bool) {
	var parts []expr
	for _, a := range args {
		e, ok := compileValue(a, compileTest)
		if !ok {
			return nil, false
		}
		parts = append(parts, e)
	}
	if piped != nil {
		parts = append(parts, piped)
	}
	if len(parts) == 0 || name == "not" && len(parts) != 1 {
		return nil, false
	}
	return func(r *pieceRun) (s string, ok bool) {
		for _, e := range parts {
			if s, ok = e(r); !ok {
				return "", false
			}
			switch {
			case name == "not" && s == "":
				return truth, true
			case name == "not":
				return "", true
			case (name == "or") == (s != ""): // the rest does not matter
				return s, true
			}
		}
		return s, true
	}, true
}

// fold changes the case of the letters from lo to hi, or leaves it to slow where there are others than ASCII.
func (r *pieceRun) fold(s string, lo, hi byte, slow func(string) string) string {
	change := false
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return slow(s)
		}
		change = change || lo <= s[i] && s[i] <= hi
	}
	if !change {
		return s
	}
	n := len(r.made)
	r.made = append(r.made, s...)
	for i, c := range r.made[n:] {
		if lo <= c && c <= hi {
			r.made[n+i] = c ^ ' '
		}
	}
	return r.own(n)
}

func (r *pieceRun) replace(s, old, new string) (string, bool) {
	hits := strings.Count(s, old)
	if hits == 0 || old == "" {
		return s, old != ""
	}
	if !r.pay(len(s) + hits*min(len(new), maxTemplateBytes+1)) {
		return "", false
	}
	n := len(r.made)
	for range hits {
		at := strings.Index(s, old)
		r.made = append(append(r.made, s[:at]...), new...)
		s = s[at+len(old):]
	}
	r.made = append(r.made, s...)
	return r.own(n), true
}

// align pads s with blanks or cuts it to n characters, at its right or left end.
func (r *pieceRun) align(n int, s string, left bool) (string, bool) {
	have := utf8.RuneCountInString(s)
	if n < 0 {
		return s, true
	}
	if !r.pay(n + len(s)) {
		return "", false
	}
	if have > n {
		if !utf8.ValidString(s) {
			return "", false
		}
		drop := n // characters to the cut
		if !left {
			drop = have - n
		}
		at := 0
		for range drop {
			_, size := utf8.DecodeRuneInString(s[at:])
			at += size
		}
		if left {
			return s[:at], true
		}
		return s[at:], true
	}
	start := len(r.made)
	if left {
		r.made = append(r.made, s...)
	}
	for range n - have {
		r.made = append(r.made, ' ')
	}
	if !left {
		r.made = append(r.made, s...)
	}
	return r.own(start), true
}
