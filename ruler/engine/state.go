package engine

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/grafana/dskit/user"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/rules"
)

// savedState is what is kept of a group, as JSON.
type savedState struct {
	Version   int         `json:"version"`
	Evaluated int64       `json:"evaluated"` // the time of the last evaluation, in nanoseconds since 1970
	Rules     []savedRule `json:"rules,omitempty"`
}

type savedRule struct {
	Name   string       `json:"name"`
	Labels string       `json:"labels"` // as the rule has them
	Alerts []savedAlert `json:"alerts,omitempty"`
}

func (r savedRule) key() string { return r.Name + "\x00" + r.Labels }

type savedAlert struct {
	Labels      labels.Labels    `json:"labels"`
	Annotations labels.Labels    `json:"annotations"`
	Value       uint64           `json:"value"` // bits: JSON has no infinity
	State       rules.AlertState `json:"state"`

	ActiveAt        time.Time `json:"active"`
	FiredAt         time.Time `json:"fired,omitzero"`
	ResolvedAt      time.Time `json:"resolved,omitzero"`
	LastSentAt      time.Time `json:"sent,omitzero"`
	ValidUntil      time.Time `json:"validUntil,omitzero"`
	KeepFiringSince time.Time `json:"keepFiringSince,omitzero"`
}

func (a *savedAlert) value() float64 { return math.Float64frombits(a.Value) }

func saveAlert(a *rules.Alert) savedAlert {
	return savedAlert{
		Labels: a.Labels.Copy(), Annotations: a.Annotations.Copy(), Value: math.Float64bits(a.Value), State: a.State,
		ActiveAt: a.ActiveAt, FiredAt: a.FiredAt, ResolvedAt: a.ResolvedAt, LastSentAt: a.LastSentAt,
		ValidUntil: a.ValidUntil, KeepFiringSince: a.KeepFiringSince,
	}
}

func (a *savedAlert) apply(to *rules.Alert) {
	to.State, to.Value, to.Annotations = a.State, a.value(), a.Annotations
	to.ActiveAt, to.FiredAt, to.ResolvedAt = a.ActiveAt, a.FiredAt, a.ResolvedAt
	to.LastSentAt, to.ValidUntil, to.KeepFiringSince = a.LastSentAt, a.ValidUntil, a.KeepFiringSince
}

// stateVersion is the version of savedState.
const stateVersion = 1

// saver keeps the state of a group. It is used by one goroutine at a time.
type saver struct {
	g      *group
	last   *savedState
	needed bool      // there is something to keep, or was
	dirty  bool      // last is not kept
	print  uint64    // of what was kept
	kept   time.Time // when that was
}

func (s *saver) object() string {
	def := s.g.current()
	enc := base64.URLEncoding.EncodeToString
	return "ruler-state/" + s.g.tenant.id + "/" + enc([]byte(def.Namespace)) + "/" + enc([]byte(def.Name))
}

// context is for the bucket, which must be reached though the group is being stopped.
func (s *saver) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(user.InjectOrgID(context.Background(), s.g.tenant.id), 30*time.Second)
}

// load returns what was kept, nil if there is nothing or it can't be read.
func (s *saver) load(ctx context.Context) *savedState {
	bucket := s.g.tenant.r.state
	state, err := func() (*savedState, error) {
		r, err := bucket.Get(ctx, s.object())
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(r)
		if err = errors.Join(err, r.Close()); err != nil {
			return nil, err
		}
		var state savedState
		if err := json.Unmarshal(b, &state); err != nil {
			return nil, err
		}
		if state.Version != stateVersion {
			return nil, fmt.Errorf("version %d is not known", state.Version)
		}
		return &state, nil
	}()
	if err != nil {
		if !bucket.IsObjNotFoundErr(err) {
			s.failed("the state of a group can't be read; its alerts begin anew", err)
		}
		return nil
	}
	s.needed = true
	return state
}

func (s *saver) failed(msg string, err error) {
	def := s.g.current()
	s.g.tenant.r.metrics.stateFailures.Inc()
	s.g.tenant.log.Error(msg, "namespace", def.Namespace, "group", def.Name, "err", err)
}

// evaluated notes how the group is after an evaluation, and keeps it if that has changed.
func (s *saver) evaluated(rg *rules.Group, at time.Time) {
	state := &savedState{Version: stateVersion, Evaluated: at.UnixNano()}
	// What recording rules have not recorded is made up for, so the time counts.
	needed := false
	h := fnv.New64a()
	for _, r := range rg.Rules() {
		rule, ok := r.(*rules.AlertingRule)
		if !ok {
			needed = needed || s.g.tenant.queue != nil
			continue
		}
		out := savedRule{Name: rule.Name(), Labels: rule.Labels().String()}
		rule.ForEachActiveAlert(func(a *rules.Alert) { out.Alerts = append(out.Alerts, saveAlert(a)) })
		slices.SortFunc(out.Alerts, func(a, b savedAlert) int { return strings.Compare(a.Labels.String(), b.Labels.String()) })
		for i := range out.Alerts {
			a := &out.Alerts[i]
			_, _ = fmt.Fprint(h, out.key(), a.Labels, a.State, a.ActiveAt.UnixNano(), a.ResolvedAt.UnixNano(), a.LastSentAt.UnixNano(), a.KeepFiringSince.UnixNano())
		}
		state.Rules = append(state.Rules, out)
		needed = needed || len(out.Alerts) > 0
	}
	if !needed && !s.needed {
		return
	}
	s.last, s.dirty = state, true
	print := h.Sum64()
	if changed := print != s.print || needed != s.needed; changed || time.Since(s.kept) >= s.g.tenant.r.cfg.StateInterval {
		s.needed, s.print = needed, print
		s.save(false)
	}
}

// save keeps what evaluated has noted; with final unless that is kept already.
func (s *saver) save(final bool) {
	if s.last == nil || final && !s.dirty {
		return
	}
	b, err := json.Marshal(s.last)
	if err == nil {
		ctx, cancel := s.context()
		defer cancel()
		err = s.g.tenant.r.state.Upload(ctx, s.object(), bytes.NewReader(b))
	}
	if err != nil {
		s.failed("the state of a group can't be kept; a restart would begin its alerts anew", err)
		return
	}
	s.dirty, s.kept = false, time.Now()
}

// forget removes what is kept of a group that was deleted.
func (s *saver) forget() {
	ctx, cancel := s.context()
	defer cancel()
	bucket := s.g.tenant.r.state
	if there, err := bucket.Exists(ctx, s.object()); err != nil || !there {
		return // a group without state; or it can't be known, and a state that nobody asks for does no harm
	}
	if err := bucket.Delete(ctx, s.object()); err != nil && !bucket.IsObjNotFoundErr(err) {
		s.failed("the state of a group that was deleted can't be removed", err)
	}
}
