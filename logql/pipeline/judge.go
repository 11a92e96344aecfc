package pipeline

// judge are the label filters behind a parser all of whose fields are wanted. They see the row first with the few
// fields that they look at, so that the others are only extracted from lines that pass.
type judge struct {
	filters []labelFilter
	need    *needs
}

// addJudges puts label filters in front of the parsers that they follow. They stay where they are as well.
func addJudges(stages []stage) {
	for i, s := range stages {
		js, ok := s.(*jsonStage)
		if !ok || !js.need.all {
			continue
		}
		j := &judge{need: newNeeds()}
		for _, s := range stages[i+1:] {
			f, ok := s.(labelFilterStage)
			if !ok {
				break
			}
			f.filter.prepare(j.need)
			j.filters = append(j.filters, f.filter)
		}
		if len(j.filters) > 0 {
			js.judge = j
		}
	}
}

// judgingRunner lets a parser that extracts all fields see only the lines that pass the filters behind it.
type judgingRunner struct {
	filters []labelFilter
	few     runner // the parser, for the fields that the filters look at and for the faults of the line
	all     runner

	// Where many lines pass, looking twice costs more than it saves.
	seen, passed int
	rest         int // lines that are not judged
}

const (
	judgedLines = 256  // after which the share of those that passed decides
	restLines   = 4096 // that are not judged where it was too large
)

func (r *judgingRunner) run(w *Worker) bool {
	if r.rest > 0 {
		r.rest--
		return r.all.run(w)
	}
	if r.seen == judgedLines {
		if r.passed > judgedLines/3 {
			r.rest = restLines
		}
		r.seen, r.passed = 0, 0
	}
	r.seen++
	if !r.passes(w) {
		return false
	}
	r.passed++
	return r.all.run(w)
}

// passes tells whether the row passes the filters. It leaves the row as it was.
func (r *judgingRunner) passes(w *Worker) bool {
	labels, arena := len(w.labels.list), len(w.arena)
	err, details, soft, parsed := w.err, w.details, w.soft, w.parsed
	passes := r.few.run(w)
	for i := 0; passes && i < len(r.filters); i++ {
		passes = r.filters[i].matches(w)
	}
	w.labels.truncate(labels)
	w.arena = w.arena[:arena]
	w.err, w.details, w.soft, w.parsed = err, details, soft, parsed
	w.rowSeq++ // for the other parser this is another reading
	return passes
}
