package syntax

// Node is anything in a query that has a place and can be printed: an Expr, a Stage, a LabelFilter
// or an *Unwrap.
type Node interface {
	String() string
	Position() Pos
}

// The methods below mark which node may stand where.

func (*LogExpr) expr()           {}
func (*RangeAggregation) expr()  {}
func (*VectorAggregation) expr() {}
func (*Binary) expr()            {}
func (*Literal) expr()           {}
func (*Vector) expr()            {}
func (*LabelReplace) expr()      {}

func (*RangeAggregation) metricExpr()  {}
func (*VectorAggregation) metricExpr() {}
func (*Binary) metricExpr()            {}
func (*Literal) metricExpr()           {}
func (*Vector) metricExpr()            {}
func (*LabelReplace) metricExpr()      {}

func (*LineFilter) stage()       {}
func (*JSONStage) stage()        {}
func (*LogfmtStage) stage()      {}
func (*PatternStage) stage()     {}
func (*RegexpStage) stage()      {}
func (*UnpackStage) stage()      {}
func (*DecolorizeStage) stage()  {}
func (*LineFormatStage) stage()  {}
func (*LabelFormatStage) stage() {}
func (*LabelFilterStage) stage() {}
func (*DropStage) stage()        {}
func (*KeepStage) stage()        {}

func (*AndFilter) labelFilter()      {}
func (*OrFilter) labelFilter()       {}
func (*MatchFilter) labelFilter()    {}
func (*NumberFilter) labelFilter()   {}
func (*DurationFilter) labelFilter() {}
func (*BytesFilter) labelFilter()    {}
func (*IPFilter) labelFilter()       {}

// Position returns the place of the selector.
func (e *LogExpr) Position() Pos { return e.Pos }

// Position returns the place of the function's name.
func (e *RangeAggregation) Position() Pos { return e.Pos }

// Position returns the place of the operator's name.
func (e *VectorAggregation) Position() Pos { return e.Pos }

// Position returns where the left operand begins.
func (e *Binary) Position() Pos { return e.Pos }

// Position returns the place of the number or its sign.
func (e *Literal) Position() Pos { return e.Pos }

// Position returns the place of the function's name.
func (e *Vector) Position() Pos { return e.Pos }

// Position returns the place of the function's name.
func (e *LabelReplace) Position() Pos { return e.Pos }

// Position returns the place of the operator.
func (s *LineFilter) Position() Pos { return s.Pos }

// Position returns the place of the stage's "|", as it does for all stages but line filters.
func (s *JSONStage) Position() Pos { return s.Pos }

// Position returns the place of the "|".
func (s *LogfmtStage) Position() Pos { return s.Pos }

// Position returns the place of the "|".
func (s *PatternStage) Position() Pos { return s.Pos }

// Position returns the place of the "|".
func (s *RegexpStage) Position() Pos { return s.Pos }

// Position returns the place of the "|".
func (s *UnpackStage) Position() Pos { return s.Pos }

// Position returns the place of the "|".
func (s *DecolorizeStage) Position() Pos { return s.Pos }

// Position returns the place of the "|".
func (s *LineFormatStage) Position() Pos { return s.Pos }

// Position returns the place of the "|".
func (s *LabelFormatStage) Position() Pos { return s.Pos }

// Position returns the place of the "|".
func (s *LabelFilterStage) Position() Pos { return s.Pos }

// Position returns the place of the "|".
func (s *DropStage) Position() Pos { return s.Pos }

// Position returns the place of the "|".
func (s *KeepStage) Position() Pos { return s.Pos }

// Position returns the place of the "|".
func (u *Unwrap) Position() Pos { return u.Pos }

// Position returns where the left side begins.
func (f *AndFilter) Position() Pos { return f.Left.Position() }

// Position returns where the left side begins.
func (f *OrFilter) Position() Pos { return f.Left.Position() }

// Position returns the place of the label's name.
func (f *MatchFilter) Position() Pos { return f.Pos }

// Position returns the place of the label's name.
func (f *NumberFilter) Position() Pos { return f.Pos }

// Position returns the place of the label's name.
func (f *DurationFilter) Position() Pos { return f.Pos }

// Position returns the place of the label's name.
func (f *BytesFilter) Position() Pos { return f.Pos }

// Position returns the place of the label's name.
func (f *IPFilter) Position() Pos { return f.Pos }
