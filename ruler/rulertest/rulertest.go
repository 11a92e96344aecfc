// Package rulertest has the tests that every ruler.Service must pass, and a fake.
package rulertest

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grafana/dskit/tenant"
	"github.com/grafana/dskit/user"

	"example.com/loki/ruler"
)

// Fake is a ruler.Service that keeps groups in memory and evaluates nothing. The zero value is ready to use.
type Fake struct {
	mu     sync.Mutex
	groups map[string][]ruler.Group // by tenant
}

var _ ruler.Service = (*Fake)(nil)

func (f *Fake) with(ctx context.Context, do func(groups *[]ruler.Group) error) error {
	id, err := tenant.TenantID(ctx)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.groups == nil {
		f.groups = map[string][]ruler.Group{}
	}
	groups := f.groups[id]
	err = do(&groups)
	f.groups[id] = groups
	return err
}

// Groups implements ruler.Service.
func (f *Fake) Groups(ctx context.Context, namespace string) (all []ruler.Group, err error) {
	err = f.with(ctx, func(groups *[]ruler.Group) error {
		for _, g := range *groups {
			if namespace == "" || g.Namespace == namespace {
				all = append(all, g)
			}
		}
		return nil
	})
	slices.SortFunc(all, func(a, b ruler.Group) int {
		return strings.Compare(a.Namespace+"\x00"+a.Name, b.Namespace+"\x00"+b.Name)
	})
	return all, err
}

// Group implements ruler.Service.
func (f *Fake) Group(ctx context.Context, namespace, name string) (ruler.Group, error) {
	all, err := f.Groups(ctx, namespace)
	if err != nil {
		return ruler.Group{}, err
	}
	for _, g := range all {
		if g.Name == name {
			return g, nil
		}
	}
	return ruler.Group{}, ruler.ErrNoGroup
}

// SetGroup implements ruler.Service.
func (f *Fake) SetGroup(ctx context.Context, g ruler.Group) error {
	if err := g.Check(); err != nil {
		return err
	}
	return f.with(ctx, func(groups *[]ruler.Group) error {
		*groups = append(slices.DeleteFunc(*groups, func(o ruler.Group) bool { return o.Namespace == g.Namespace && o.Name == g.Name }), g)
		return nil
	})
}

func (f *Fake) delete(ctx context.Context, missing error, which func(*ruler.Group) bool) error {
	return f.with(ctx, func(groups *[]ruler.Group) error {
		n := len(*groups)
		*groups = slices.DeleteFunc(*groups, func(g ruler.Group) bool { return which(&g) })
		if len(*groups) == n {
			return missing
		}
		return nil
	})
}

// DeleteGroup implements ruler.Service.
func (f *Fake) DeleteGroup(ctx context.Context, namespace, name string) error {
	return f.delete(ctx, ruler.ErrNoGroup, func(g *ruler.Group) bool { return g.Namespace == namespace && g.Name == name })
}

// DeleteNamespace implements ruler.Service.
func (f *Fake) DeleteNamespace(ctx context.Context, namespace string) error {
	return f.delete(ctx, ruler.ErrNoNamespace, func(g *ruler.Group) bool { return g.Namespace == namespace })
}

// Status implements ruler.Service.
func (f *Fake) Status(ctx context.Context, _ ruler.StatusRequest) ([]ruler.GroupStatus, error) {
	groups, err := f.Groups(ctx, "")
	if err != nil {
		return nil, err
	}
	var all []ruler.GroupStatus
	for _, g := range groups {
		s := ruler.GroupStatus{Namespace: g.Namespace, Name: g.Name, Interval: time.Minute}
		for _, r := range g.Rules {
			s.Rules = append(s.Rules, ruler.RuleStatus{Rule: r, State: ruler.Inactive, Health: ruler.HealthUnknown})
		}
		all = append(all, s)
	}
	return all, nil
}

// Example returns a group with one of everything.
func Example(namespace, name string) ruler.Group {
	offset := 10 * time.Second
	return ruler.Group{
		Namespace: namespace, Name: name, Interval: 5 * time.Minute, QueryOffset: &offset, Limit: 7,
		Labels: map[string]string{"team": "web"},
		Rules: []ruler.Rule{
			{
				Alert: "TooManyErrors", Expr: `sum by (app) (rate({app="web"} |= "error" [5m])) > 1`,
				For: time.Minute, KeepFiringFor: 2 * time.Minute,
				Labels:      map[string]string{"severity": "page"},
				Annotations: map[string]string{"summary": "{{ $labels.app }} has errors"},
			},
			{Record: "app:lines:rate1m", Expr: `sum by (app) (rate({app=~".+"}[1m]))`},
		},
	}
}

// Contract tests a ruler that newService makes, without groups.
func Contract(t *testing.T, newService func(t *testing.T) ruler.Service) {
	as := func(t *testing.T, id string) context.Context { return user.InjectOrgID(t.Context(), id) }
	same := func(t *testing.T, got, want ruler.Group) {
		t.Helper()
		for i := range got.Rules {
			got.Rules[i].Line = 0
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("the group is\n%+v\nwant\n%+v", got, want)
		}
	}
	t.Run("set, get, list, update, delete", func(t *testing.T) {
		s, ctx := newService(t), as(t, "a")
		if all, err := s.Groups(ctx, ""); err != nil || len(all) != 0 {
			t.Fatalf("Groups = %v, %v, want none", all, err)
		}
		// Names may be any text.
		for _, k := range [][2]string{{"ns", "b"}, {"ns", "a"}, {"other/ns ü", "g/1 %2F"}} {
			if err := s.SetGroup(ctx, Example(k[0], k[1])); err != nil {
				t.Fatal(err)
			}
		}
		all, err := s.Groups(ctx, "")
		if err != nil || len(all) != 3 {
			t.Fatalf("Groups = %v, %v, want 3", all, err)
		}
		same(t, all[0], Example("ns", "a"))
		same(t, all[1], Example("ns", "b"))
		if all, err = s.Groups(ctx, "other/ns ü"); err != nil || len(all) != 1 {
			t.Fatalf("Groups of a namespace = %v, %v, want 1", all, err)
		}
		changed := Example("ns", "a")
		changed.Rules = changed.Rules[:1]
		changed.Rules[0].Expr = `count_over_time({app="web"}[1m]) > 2`
		if err := s.SetGroup(ctx, changed); err != nil {
			t.Fatal(err)
		}
		g, err := s.Group(ctx, "ns", "a")
		if err != nil {
			t.Fatal(err)
		}
		same(t, g, changed)
		if err := s.DeleteGroup(ctx, "ns", "a"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Group(ctx, "ns", "a"); !errors.Is(err, ruler.ErrNoGroup) {
			t.Errorf("Group = %v, want %v", err, ruler.ErrNoGroup)
		}
		if err := s.DeleteNamespace(ctx, "ns"); err != nil {
			t.Fatal(err)
		}
		if all, err = s.Groups(ctx, ""); err != nil || len(all) != 1 || all[0].Namespace != "other/ns ü" {
			t.Errorf("Groups = %v, %v, want that of the other namespace", all, err)
		}
	})
	t.Run("what does not exist", func(t *testing.T) {
		s, ctx := newService(t), as(t, "a")
		if _, err := s.Group(ctx, "ns", "g"); !errors.Is(err, ruler.ErrNoGroup) {
			t.Errorf("Group = %v, want %v", err, ruler.ErrNoGroup)
		}
		if err := s.DeleteGroup(ctx, "ns", "g"); !errors.Is(err, ruler.ErrNoGroup) {
			t.Errorf("DeleteGroup = %v, want %v", err, ruler.ErrNoGroup)
		}
		if err := s.DeleteNamespace(ctx, "ns"); !errors.Is(err, ruler.ErrNoNamespace) {
			t.Errorf("DeleteNamespace = %v, want %v", err, ruler.ErrNoNamespace)
		}
	})
	t.Run("tenants", func(t *testing.T) {
		s := newService(t)
		if err := s.SetGroup(as(t, "a"), Example("ns", "g")); err != nil {
			t.Fatal(err)
		}
		if all, err := s.Groups(as(t, "b"), ""); err != nil || len(all) != 0 {
			t.Errorf("another tenant sees %v, %v", all, err)
		}
		if all, err := s.Status(as(t, "b"), ruler.StatusRequest{}); err != nil || len(all) != 0 {
			t.Errorf("another tenant sees %v, %v", all, err)
		}
		if err := s.DeleteGroup(as(t, "b"), "ns", "g"); !errors.Is(err, ruler.ErrNoGroup) {
			t.Errorf("DeleteGroup of another tenant's = %v, want %v", err, ruler.ErrNoGroup)
		}
		if _, err := s.Groups(t.Context(), ""); !errors.Is(err, user.ErrNoOrgID) {
			t.Errorf("Groups without tenant = %v, want %v", err, user.ErrNoOrgID)
		}
	})
	t.Run("invalid", func(t *testing.T) {
		s, ctx := newService(t), as(t, "a")
		g := Example("ns", "g")
		g.Rules[0].Expr = `{app="web"`
		err := s.SetGroup(ctx, g)
		if !errors.Is(err, ruler.ErrInvalid) || !strings.Contains(err.Error(), `group "g", rule 1 (TooManyErrors): expr: parse error`) {
			t.Errorf("SetGroup = %v, want %v that says what is wrong", err, ruler.ErrInvalid)
		}
		if all, err := s.Groups(ctx, ""); err != nil || len(all) != 0 {
			t.Errorf("Groups = %v, %v, want none", all, err)
		}
	})
	t.Run("status", func(t *testing.T) {
		s, ctx := newService(t), as(t, "a")
		if err := s.SetGroup(ctx, Example("ns", "g")); err != nil {
			t.Fatal(err)
		}
		all, err := s.Status(ctx, ruler.StatusRequest{})
		if err != nil || len(all) != 1 || all[0].Name != "g" || len(all[0].Rules) != 2 {
			t.Fatalf("Status = %+v, %v, want that of the group", all, err)
		}
		if r := all[0].Rules[0]; r.Name() != "TooManyErrors" || r.State != ruler.Inactive || r.For != time.Minute {
			t.Errorf("the status of the rule is %+v", r)
		}
	})
}
