package config

import (
	"fmt"
	"strings"
)

// expand replaces ${NAME} by the value of a variable, by nothing if it is not set, and
// ${NAME:-default} by the default if it is not set or empty. $${ stands for ${ itself. A dollar sign
// that no brace follows stays as it is: regular expressions have them.
func expand(text string, getenv func(string) (string, bool)) (string, error) {
	var b strings.Builder
	rest := text
	for {
		i := strings.Index(rest, "${")
		if i < 0 {
			b.WriteString(rest)
			return b.String(), nil
		}
		if i > 0 && rest[i-1] == '$' {
			b.WriteString(rest[:i-1] + "${")
			rest = rest[i+2:]
			continue
		}
		b.WriteString(rest[:i])
		line := 1 + strings.Count(text[:len(text)-len(rest)+i], "\n")
		body, after, ok := strings.Cut(rest[i+2:], "}")
		if !ok {
			return "", fmt.Errorf("line %d: ${ without }", line)
		}
		rest = after
		name, def, _ := strings.Cut(body, ":")
		def = strings.TrimLeft(def, "-=?")
		if !isVariable(name) {
			return "", fmt.Errorf("line %d: ${%s}: write ${NAME} or ${NAME:-default}", line, body)
		}
		value, _ := getenv(name)
		if value == "" {
			value = def
		}
		b.WriteString(value)
	}
}

func isVariable(name string) bool {
	for i, c := range []byte(name) {
		if c != '_' && !('a' <= c|0x20 && c|0x20 <= 'z') && !(i > 0 && '0' <= c && c <= '9') {
			return false
		}
	}
	return name != ""
}
