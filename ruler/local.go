package ruler

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// NewLocalStore returns a store of the files dir/<tenant>/<namespace>, which somebody else writes; see
// ParseFile. The name of the file is the namespace. A file that can't be used fails all of its tenant's: what is
// wrong must not go unnoticed.
func NewLocalStore(dir string) Store { return localStore{dir} }

type localStore struct{ dir string }

var _ Store = localStore{}

// Tenants implements Store.
func (s localStore) Tenants(context.Context) ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ruler: list tenants with rules: %w", err)
	}
	var all []string
	for _, e := range entries {
		// Volumes of Kubernetes consist of links.
		if info, err := os.Stat(filepath.Join(s.dir, e.Name())); err == nil && info.IsDir() && !strings.HasPrefix(e.Name(), "..") {
			all = append(all, e.Name())
		}
	}
	return all, nil
}

// Groups implements Store.
func (s localStore) Groups(_ context.Context, tenant, namespace string) ([]Group, error) {
	dir := filepath.Join(s.dir, tenant)
	if !filepath.IsLocal(tenant) {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ruler: list rules of %s: %w", tenant, err)
	}
	var all []Group
	for _, e := range entries { // sorted by name
		name := e.Name()
		if namespace != "" && name != namespace || strings.HasPrefix(name, ".") {
			continue
		}
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err != nil || info.IsDir() {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("ruler: %w", err)
		}
		groups, err := ParseFile(name, text)
		if err != nil {
			return nil, fmt.Errorf("ruler: %s: %w", file, err)
		}
		slices.SortStableFunc(groups, func(a, b Group) int { return strings.Compare(a.Name, b.Name) })
		all = append(all, groups...)
	}
	return all, nil
}

// Group implements Store.
func (s localStore) Group(ctx context.Context, tenant, namespace, name string) (Group, error) {
	groups, err := s.Groups(ctx, tenant, namespace)
	if err != nil {
		return Group{}, err
	}
	for _, g := range groups {
		if g.Namespace == namespace && g.Name == name {
			return g, nil
		}
	}
	return Group{}, ErrNoGroup
}

// SetGroup implements Store.
func (localStore) SetGroup(context.Context, string, Group) error { return ErrReadOnly }

// DeleteGroup implements Store.
func (localStore) DeleteGroup(context.Context, string, string, string) error { return ErrReadOnly }

// DeleteNamespace implements Store.
func (localStore) DeleteNamespace(context.Context, string, string) error { return ErrReadOnly }
