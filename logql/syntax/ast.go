// Package syntax parses, inspects, rewrites and prints LogQL, the query language of Grafana Loki.
//
// It depends on nothing but Prometheus' label matchers, so a program that only looks at queries can
// import it alone.
//
//	expr, err := syntax.Parse(`sum by (app) (rate({env="prod"} |= "error" [5m]))`)
//
// # Trees
//
// A query is a *LogExpr, which selects lines, or a MetricExpr, which computes samples from them. Nodes
// are plain structs and may be built by hand; a tree that is shared must not be changed. [Walk] visits
// all nodes, [Rewrite] makes a changed copy.
//
// Each node prints as LogQL that parses to an equal node, positions aside, if the grammar has a way to
// say it: there are no negative vectors, for example, and behind "drop a" a != is part of the drop.
// String gives one line, [Format] breaks long queries for people.
//
// # Errors
//
// What is wrong with a query is told by a *[ParseError]: line, column, what was expected there and
// often how to correct it. The parser refuses what Loki refuses, apart from templates, which are
// looked into when a pipeline is compiled.
//
// # Limits
//
// A query has at most [MaxQuerySize] bytes, nests at most a thousand levels deep and its regular
// expressions do not expand without bound, so that parsing takes milliseconds and a few megabytes
// whatever the input. Recursion over a parsed tree is safe.
package syntax

import (
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// Pos is the place of a node in the query, in bytes from its start. Built nodes have 0.
type Pos int

// Expr is a LogQL expression: a *LogExpr or a MetricExpr.
type Expr interface {
	// String prints the expression in the canonical one-line form.
	String() string
	// Position is where the node begins in the query it was parsed from.
	Position() Pos
	expr()
}

// MetricExpr is an expression whose value is a vector of samples or, for Literal, a number:
// *RangeAggregation, *VectorAggregation, *Binary, *Literal, *Vector or *LabelReplace.
type MetricExpr interface {
	Expr
	metricExpr()
}

// LogExpr selects log lines: a stream selector and the stages that follow it.
type LogExpr struct {
	Pos      Pos
	Matchers []*labels.Matcher
	Stages   []Stage
}

// Stage is one step of a pipeline: *LineFilter, *JSONStage, *LogfmtStage, *PatternStage, *RegexpStage,
// *UnpackStage, *DecolorizeStage, *LineFormatStage, *LabelFormatStage, *LabelFilterStage, *DropStage
// or *KeepStage.
type Stage interface {
	String() string
	Position() Pos
	stage()
}

// LineFilterOp is the operator of a line filter.
type LineFilterOp uint8

const (
	LineContains    LineFilterOp = iota // |=
	LineNotContains                     // !=
	LineMatches                         // |~
	LineNotMatches                      // !~
	LinePattern                         // |>
	LineNotPattern                      // !>
)

// LineFilter keeps the lines that contain, match or fit any of Operands, or with a negative Op those
// that do so with none.
type LineFilter struct {
	Pos      Pos
	Op       LineFilterOp
	Operands []LineOperand // at least one; more were joined with "or"
}

// LineOperand is a string of a line filter, or with IP set the argument of ip("...").
type LineOperand struct {
	Text string
	IP   bool
}

// Extraction is one parameter of a json or logfmt stage: label Name gets the value at Expression.
type Extraction struct {
	Name, Expression string
}

type (
	// JSONStage is "| json": all fields, or with Fields only those.
	JSONStage struct {
		Pos    Pos
		Fields []Extraction
	}
	// LogfmtStage is "| logfmt": all pairs, or with Fields only those.
	LogfmtStage struct {
		Pos               Pos
		Strict, KeepEmpty bool
		Fields            []Extraction
	}
	// PatternStage is "| pattern".
	PatternStage struct {
		Pos     Pos
		Pattern string
	}
	// RegexpStage is "| regexp".
	RegexpStage struct {
		Pos    Pos
		Regexp string
	}
	// UnpackStage is "| unpack".
	UnpackStage struct{ Pos Pos }
	// DecolorizeStage is "| decolorize".
	DecolorizeStage struct{ Pos Pos }
	// LineFormatStage is "| line_format".
	LineFormatStage struct {
		Pos      Pos
		Template string
	}
	// LabelFormatStage is "| label_format".
	LabelFormatStage struct {
		Pos     Pos
		Formats []LabelFormat
	}
	// LabelFilterStage is a label filter such as "| status >= 500 and method="GET"".
	LabelFilterStage struct {
		Pos    Pos
		Filter LabelFilter
	}
	// DropStage is "| drop": labels by name or, with a matcher, by name and value.
	DropStage struct {
		Pos    Pos
		Labels []LabelSelector
	}
	// KeepStage is "| keep".
	KeepStage struct {
		Pos    Pos
		Labels []LabelSelector
	}
)

// LabelFormat sets label Name to the value of label Rename, or else to the result of Template.
type LabelFormat struct {
	Name     string
	Rename   string
	Template string
}

// LabelSelector names a label of a drop or keep stage; Matcher is nil where only the name counts.
type LabelSelector struct {
	Name    string
	Matcher *labels.Matcher
}

// LabelFilter is the condition of a LabelFilterStage: *AndFilter, *OrFilter, *MatchFilter,
// *NumberFilter, *DurationFilter, *BytesFilter or *IPFilter.
type LabelFilter interface {
	String() string
	Position() Pos
	labelFilter()
}

// CompareOp is a comparison operator.
type CompareOp uint8

const (
	OpEqual CompareOp = iota // = or ==
	OpNotEqual
	OpGreater
	OpGreaterEqual
	OpLess
	OpLessEqual
)

type (
	// AndFilter holds where both sides hold. "and", "," and a blank mean the same.
	AndFilter struct{ Left, Right LabelFilter }
	// OrFilter holds where one side holds.
	OrFilter struct{ Left, Right LabelFilter }
	// MatchFilter compares a label as a string.
	MatchFilter struct {
		Pos     Pos
		Matcher *labels.Matcher
	}
	// NumberFilter compares a label as a number.
	NumberFilter struct {
		Pos   Pos
		Name  string
		Op    CompareOp
		Value float64
	}
	// DurationFilter compares a label as a duration.
	DurationFilter struct {
		Pos   Pos
		Name  string
		Op    CompareOp
		Value time.Duration
	}
	// BytesFilter compares a label as a size in bytes.
	BytesFilter struct {
		Pos   Pos
		Name  string
		Op    CompareOp
		Value uint64
	}
	// IPFilter holds if the label's value is (OpEqual) or is not (OpNotEqual) an address in Range: a
	// single address, a CIDR prefix or first-last.
	IPFilter struct {
		Pos   Pos
		Name  string
		Op    CompareOp
		Range string
	}
)

// UnwrapFunc converts the unwrapped label into a number.
type UnwrapFunc uint8

const (
	UnwrapNumber          UnwrapFunc = iota // a decimal number
	UnwrapBytes                             // bytes(x): "5 MB" gives 5e6
	UnwrapDuration                          // duration(x): in seconds
	UnwrapDurationSeconds                   // duration_seconds(x): the same, another spelling
)

// Unwrap takes the samples of a range from a label.
type Unwrap struct {
	Pos     Pos
	Label   string
	Convert UnwrapFunc
	Filters []LabelFilter // label filters that follow the unwrap
}

// RangeOp is a range aggregation.
type RangeOp uint8

const (
	RangeCount RangeOp = iota
	RangeRate
	RangeBytes
	RangeBytesRate
	RangeAbsent
	RangeSum
	RangeAvg
	RangeMin
	RangeMax
	RangeStddev
	RangeStdvar
	RangeQuantile
	RangeFirst
	RangeLast
	RangeRateCounter
)

// Grouping is a by or without clause. The zero value, by no label, gives one series; "no clause at
// all" is a nil *Grouping.
type Grouping struct {
	Without bool
	Names   []string
}

// RangeAggregation is a function over the entries of a range, such as rate({...}[5m]).
type RangeAggregation struct {
	Pos      Pos
	Op       RangeOp
	Log      *LogExpr
	Unwrap   *Unwrap // nil: samples are the lines themselves
	Range    time.Duration
	Offset   time.Duration
	Param    float64   // of RangeQuantile
	Grouping *Grouping // nil: none
}

// VectorOp is a vector aggregation.
type VectorOp uint8

const (
	VectorSum VectorOp = iota
	VectorAvg
	VectorMin
	VectorMax
	VectorCount
	VectorStddev
	VectorStdvar
	VectorTopK
	VectorBottomK
	VectorSort
	VectorSortDesc
	VectorApproxTopK
)

// VectorAggregation is an aggregation over the series of a vector, such as sum by (app) (...).
type VectorAggregation struct {
	Pos      Pos
	Op       VectorOp
	Inner    MetricExpr
	Param    int // k of topk, bottomk, approx_topk
	Grouping *Grouping
}

// BinaryOp is an operator between two metric expressions.
type BinaryOp uint8

const (
	BinOr BinaryOp = iota
	BinAnd
	BinUnless
	BinAdd
	BinSub
	BinMul
	BinDiv
	BinMod
	BinPow
	BinEqual
	BinNotEqual
	BinGreater
	BinGreaterEqual
	BinLess
	BinLessEqual
)

// MatchCard tells which side of a binary operation may have several series to one of the other.
type MatchCard uint8

const (
	OneToOne  MatchCard = iota
	ManyToOne           // group_left
	OneToMany           // group_right
)

// VectorMatching says how series of both sides find each other.
type VectorMatching struct {
	On      bool // Labels are those that must be equal (on); else those that don't count (ignoring)
	Labels  []string
	Card    MatchCard
	Include []string // labels copied from the "one" side
}

// Binary is an operation between two metric expressions.
type Binary struct {
	Pos         Pos
	Op          BinaryOp
	Left, Right MetricExpr
	ReturnBool  bool
	Matching    *VectorMatching // nil: none was written
}

// Literal is a number.
type Literal struct {
	Pos   Pos
	Value float64
}

// Vector is vector(n).
type Vector struct {
	Pos   Pos
	Value float64
}

// LabelReplace is label_replace(inner, dst, replacement, src, regex).
type LabelReplace struct {
	Pos                                     Pos
	Inner                                   MetricExpr
	Destination, Replacement, Source, Regex string
}
