// Package ruler keeps rules and says how they are doing: alerts and recordings whose expressions are LogQL.
//
// It holds what other components and hosts need to know: the Service, groups of rules and how they are written
// (the files of Prometheus, with LogQL in expr), where they are stored, and the HTTP endpoints that lokitool and
// Grafana use. What evaluates rules is package ruler/engine. It stands apart because it links the rules manager,
// notifier and remote write of Prometheus, which a host without rules shall not have to.
package ruler

import (
	"context"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// Service keeps the rules of tenants and reports their state. The context of each call carries the tenant.
// Groups are identified by namespace and name.
type Service interface {
	// Groups returns the groups of a namespace, or of all if it is empty, ordered by namespace and name. None
	// is not an error.
	Groups(ctx context.Context, namespace string) ([]Group, error)

	// Group returns one group. Errors: ErrNoGroup.
	Group(ctx context.Context, namespace, name string) (Group, error)

	// SetGroup makes a group or replaces it. It is evaluated from then on, by other processes after their next
	// look at the store. Errors: ErrInvalid, ErrLimit, ErrReadOnly. It keeps nothing of g.
	SetGroup(ctx context.Context, g Group) error

	// DeleteGroup removes a group. Errors: ErrNoGroup, ErrReadOnly.
	DeleteGroup(ctx context.Context, namespace, name string) error

	// DeleteNamespace removes all groups of a namespace. Errors: ErrNoNamespace, ErrReadOnly.
	DeleteNamespace(ctx context.Context, namespace string) error

	// Status returns how the tenant's groups are, ordered by namespace and name.
	Status(ctx context.Context, req StatusRequest) ([]GroupStatus, error)
}

// Group is a number of rules that are evaluated together, in their order. Its maps must not be changed.
type Group struct {
	Namespace   string // what the name of the file is for Prometheus
	Name        string
	Interval    time.Duration  // between evaluations; 0: the ruler's
	QueryOffset *time.Duration // how far in the past the rules look; nil: none
	Limit       int            // on alerts and series of each rule; 0: none
	Labels      map[string]string
	Rules       []Rule
}

// Rule is a recording or an alerting rule: either Record or Alert is set.
type Rule struct {
	Record, Alert      string
	Expr               string // a LogQL metric query
	For, KeepFiringFor time.Duration
	Labels             map[string]string
	Annotations        map[string]string

	// Line is where the rule begins in the text that it was read from; 0: unknown.
	Line int
}

// Name returns the name of the alert or the recorded metric.
func (r *Rule) Name() string {
	if r.Alert != "" {
		return r.Alert
	}
	return r.Record
}

// StatusRequest says which groups and rules a status is wanted of. The zero value asks for all.
type StatusRequest struct {
	// Local asks for what this process evaluates only; else the answers of all rulers are put together.
	Local bool
}

// GroupStatus is how a group is doing.
type GroupStatus struct {
	Namespace      string
	Name           string
	Interval       time.Duration
	Limit          int
	LastEvaluation time.Time // zero: none so far
	EvaluationTime time.Duration
	Rules          []RuleStatus
}

// Health tells whether a rule could be evaluated.
type Health string

// What a rule's health may be.
const (
	HealthUnknown Health = "unknown" // it was not evaluated so far
	HealthOK      Health = "ok"
	HealthErr     Health = "err"
)

// AlertState is how far an alert is.
type AlertState string

// What an alert's state may be.
const (
	Inactive AlertState = "inactive"
	Pending  AlertState = "pending"
	Firing   AlertState = "firing"
)

// RuleStatus is how a rule is doing.
type RuleStatus struct {
	Rule
	State          AlertState // of alerting rules: the highest of its alerts
	Alerts         []Alert    // those that are pending or firing
	Health         Health
	LastError      string
	LastEvaluation time.Time
	EvaluationTime time.Duration
}

// Alert is one alert of an alerting rule.
type Alert struct {
	Labels          labels.Labels
	Annotations     labels.Labels
	State           AlertState
	ActiveAt        time.Time
	KeepFiringSince time.Time // zero unless only keep_firing_for keeps it
	Value           float64
}
