package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// loader fills a Config.
type loader struct {
	c      *Config
	byKey  map[string]setting
	byFlag map[string]setting
	keys   known // of Loki
	flags  known // of Loki
}

func newLoader(c *Config) *loader {
	l := &loader{c: c, byKey: map[string]setting{}, byFlag: map[string]setting{},
		keys: parseNames(keysText, "*"), flags: parseNames(flagsText, "!")}
	for _, g := range groups(c) {
		for _, s := range g.settings {
			if s.key != "" {
				l.byKey[s.key] = s
			}
			if s.flag != "" {
				l.byFlag[s.flag] = s
			}
		}
	}
	return l
}

// given is a flag as it was written.
type given struct {
	setting setting
	value   string
}

// parseFlags returns the flags that mean something and applies those that say what to do and which
// file to read; apply does the others, after the file.
func (l *loader) parseFlags(args []string) ([]given, error) {
	var flags []given
	var errs []error
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		name, isFlag := strings.CutPrefix(arg, "-")
		name = strings.TrimPrefix(name, "-")
		if !isFlag || name == "" {
			errs = append(errs, fmt.Errorf("%q is not a flag; see -help", arg))
			break // what follows may belong to it
		}
		name, value, hasValue := strings.Cut(name, "=")
		if name == "h" {
			name = "help"
		}
		s, ours := l.byFlag[name]
		isBool, theirs := l.flags[name]
		if ours {
			isBool = s.kind == "bool"
		}
		switch {
		case !ours && !theirs:
			errs = append(errs, l.unknownFlag(name))
			return nil, errors.Join(errs...) // whether the next argument is its value is not known
		case hasValue:
		case isBool:
			value = "true"
		case len(args) == 0:
			errs = append(errs, fmt.Errorf("flag -%s needs a value", name))
		default:
			value, args = args[0], args[1:]
		}
		if !ours {
			l.c.Ignored = append(l.c.Ignored, "-"+name)
			continue
		}
		flags = append(flags, given{s, value})
		if s.key == "" { // config.file and the like
			if err := s.set(value); err != nil {
				errs = append(errs, fmt.Errorf("flag -%s: %w", name, err))
			}
		}
	}
	return flags, errors.Join(errs...)
}

func (l *loader) unknownFlag(name string) error {
	names := slices.AppendSeq(slices.Collect(maps.Keys(l.byFlag)), maps.Keys(l.flags))
	slices.Sort(names)
	if n := nearest(name, names); n != "" {
		return fmt.Errorf("unknown flag -%s; did you mean -%s?", name, n)
	}
	return fmt.Errorf("unknown flag -%s; see -help", name)
}

// apply sets the flags. A list that is given several times collects.
func (l *loader) apply(flags []given) error {
	var errs []error
	seen := map[string]bool{}
	for _, f := range flags {
		s := f.setting
		set := s.set
		if s.kind == "list" && seen[s.flag] {
			set = s.add
		}
		seen[s.flag] = true
		if err := set(f.value); err != nil {
			errs = append(errs, fmt.Errorf("flag -%s: %w", s.flag, err))
		}
	}
	return errors.Join(errs...)
}
