package config

import (
	"bytes"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"gopkg.in/yaml.v3"

	"example.com/loki/limits"
	"example.com/loki/logql/syntax"
)

// value parses text into a field and prints it again.
type value struct {
	kind string // for help; "bool" needs no value as a flag, "list" takes several
	set  func(string) error
	get  func() string
	add  func(string) error // lists only: appends one element
	zero func()             // lists only: empties it
	none func() bool        // lists only: it was not set, which may differ from empty

	// For what is neither a scalar nor a list of them.
	decode func(*yaml.Node) error
	encode func() *yaml.Node
}

func text(p *string) value {
	return value{kind: "text",
		set: func(s string) error { *p = s; return nil },
		get: func() string { return *p },
	}
}

// choice is one of some texts.
func choice(p *string, all ...string) value {
	v := text(p)
	v.set = func(s string) error {
		if !slices.Contains(all, s) {
			return fmt.Errorf("%q is not one of %s", s, strings.TrimPrefix(strings.Join(all, ", "), ", "))
		}
		*p = s
		return nil
	}
	return v
}

// streamRetention is a list of blocks.
func streamRetention(p *[]limits.StreamRetention) value {
	type rule struct {
		Selector string
		Priority int
		Period   string
	}
	return node("list of blocks",
		func() bool { return len(*p) == 0 },
		func(n *yaml.Node) error {
			var list []rule
			if err := decodeStrictly(n, &list); err != nil {
				return err
			}
			out := make([]limits.StreamRetention, 0, len(list))
			for _, r := range list {
				if _, err := syntax.ParseMatchers(r.Selector); err != nil {
					return fmt.Errorf("selector %s: %w", r.Selector, err)
				}
				period, err := parseDuration(r.Period)
				if err != nil {
					return fmt.Errorf("selector %s: period: %w", r.Selector, err)
				}
				out = append(out, limits.StreamRetention{Selector: r.Selector, Priority: r.Priority, Period: period})
			}
			*p = out
			return nil
		},
		func() *yaml.Node {
			list := make([]rule, 0, len(*p))
			for _, r := range *p {
				list = append(list, rule{r.Selector, r.Priority, model.Duration(r.Period).String()})
			}
			n := new(yaml.Node)
			_ = n.Encode(list) // texts and numbers
			return n
		})
}

// decodeStrictly refuses unknown fields.
func decodeStrictly(n *yaml.Node, into any) error {
	// Once more through text: a node does not refuse them.
	var b bytes.Buffer
	if err := yaml.NewEncoder(&b).Encode(n); err != nil {
		return err
	}
	d := yaml.NewDecoder(&b)
	d.KnownFields(true)
	return d.Decode(into)
}

// blockedQueries is a list of blocks.
func blockedQueries(p *[]limits.BlockedQuery) value {
	type rule struct {
		Pattern string `yaml:",omitempty"`
		Regex   bool   `yaml:",omitempty"`
		Hash    uint32 `yaml:",omitempty"`
		Types   string `yaml:",omitempty"`
	}
	return node("list of blocks",
		func() bool { return len(*p) == 0 },
		func(n *yaml.Node) error {
			var rules []rule
			if err := decodeStrictly(n, &rules); err != nil {
				return err
			}
			out := make([]limits.BlockedQuery, 0, len(rules))
			for i, r := range rules {
				b := limits.BlockedQuery{Hash: r.Hash, Pattern: r.Pattern, Regex: r.Regex}
				if err := list(&b.Types).set(r.Types); err != nil {
					return err
				}
				for _, t := range b.Types {
					if !slices.Contains([]string{"metric", "filter", "limited"}, t) {
						return fmt.Errorf("blocked query %d: %q is not one of the types metric, filter, limited", i+1, t)
					}
				}
				if r.Regex {
					if _, err := regexp.Compile(r.Pattern); err != nil {
						return fmt.Errorf("blocked query %d: %w", i+1, err)
					}
				}
				if r == (rule{}) {
					return fmt.Errorf("blocked query %d: it would block everything; give it a pattern, a hash or types", i+1)
				}
				out = append(out, b)
			}
			*p = out
			return nil
		},
		func() *yaml.Node {
			rules := make([]rule, 0, len(*p))
			for _, b := range *p {
				rules = append(rules, rule{b.Pattern, b.Regex, b.Hash, strings.Join(b.Types, ",")})
			}
			n := new(yaml.Node)
			_ = n.Encode(rules) // texts and numbers
			return n
		})
}

func boolean(p *bool) value {
	return value{kind: "bool",
		set: func(s string) error {
			switch strings.ToLower(s) {
			case "true", "yes", "on", "1", "t", "y":
				*p = true
			case "false", "no", "off", "0", "f", "n":
				*p = false
			default:
				return fmt.Errorf("%q is neither true nor false", s)
			}
			return nil
		},
		get: func() string { return strconv.FormatBool(*p) },
	}
}

func number(p *int) value {
	return value{kind: "number",
		set: func(s string) error {
			n, err := strconv.Atoi(s)
			if err != nil || n < 0 {
				return fmt.Errorf("%q is not a whole number from 0 on", s)
			}
			*p = n
			return nil
		},
		get: func() string { return strconv.Itoa(*p) },
	}
}

func decimal(p *float64) value {
	return value{kind: "number",
		set: func(s string) error {
			f, err := strconv.ParseFloat(s, 64)
			if err != nil || math.IsNaN(f) || math.IsInf(f, 0) || f < 0 {
				return fmt.Errorf("%q is not a number from 0 on", s)
			}
			*p = f
			return nil
		},
		get: func() string { return strconv.FormatFloat(*p, 'f', -1, 64) },
	}
}

func duration(p *time.Duration) value {
	return value{kind: "duration",
		set: func(s string) error {
			d, err := parseDuration(s)
			if err == nil {
				*p = d
			}
			return err
		},
		get: func() string { return model.Duration(*p).String() },
	}
}

func size[T int | int64](p *T) value {
	return value{kind: "size",
		set: func(s string) error {
			n, err := parseSize(s)
			if err == nil {
				*p = T(n)
			}
			return err
		},
		get: func() string { return formatSize(int64(*p)) },
	}
}

func list(p *[]string) value {
	return value{kind: "list",
		set: func(s string) error {
			*p = []string{}
			for e := range strings.SplitSeq(s, ",") {
				if e = strings.TrimSpace(e); e != "" {
					*p = append(*p, e)
				}
			}
			return nil
		},
		get:  func() string { return strings.Join(*p, ",") },
		add:  func(s string) error { *p = append(*p, s); return nil },
		zero: func() { *p = []string{} },
		none: func() bool { return *p == nil },
	}
}

// parseDuration takes what Prometheus takes (1d12h, 1w) and what Go takes (1.5h, 1h30m).
func parseDuration(s string) (time.Duration, error) {
	if d, err := model.ParseDuration(s); err == nil {
		return time.Duration(d), nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration; write 90s, 1h30m, 7d or 0", s)
	}
	return d, nil
}

// parseSize takes 1048576, 1MB, 1MiB, 1.5 GB. As in Loki all of them count in 1024.
func parseSize(s string) (int64, error) {
	t := strings.ToUpper(strings.TrimSpace(s))
	digits := strings.TrimRight(t, "KMGTPEIB ")
	shift, ok := map[string]int{
		"": 0, "B": 0, "K": 10, "KB": 10, "KIB": 10, "M": 20, "MB": 20, "MIB": 20, "G": 30, "GB": 30, "GIB": 30,
		"T": 40, "TB": 40, "TIB": 40, "P": 50, "PB": 50, "PIB": 50, "E": 60, "EB": 60, "EIB": 60,
	}[strings.TrimSpace(t[len(digits):])]
	f, err := strconv.ParseFloat(digits, 64)
	f *= math.Exp2(float64(shift))
	if !ok || err != nil || !(f >= 0 && f < math.MaxInt64) {
		return 0, fmt.Errorf("%q is not a size; write 1048576, 512KB, 4MB or 1.5GB", s)
	}
	return int64(f), nil
}

// formatSize prints a size in the largest unit that divides it.
func formatSize(n int64) string {
	unit := 0
	for n != 0 && n%1024 == 0 && unit < 6 {
		n /= 1024
		unit++
	}
	return strconv.FormatInt(n, 10) + []string{"B", "KB", "MB", "GB", "TB", "PB", "EB"}[unit]
}
