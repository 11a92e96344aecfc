package detect

import (
	"slices"
	"strings"

	"github.com/buger/jsonparser"
)

// maxJSONDepth bounds how deep paths are looked for.
const maxJSONDepth = 32

// jsonPaths returns the path of each value of a JSON line by the label name that the json parser gives
// it.
func jsonPaths(line string) map[string][]string {
	found := map[string][]string{}
	walkPaths([]byte(line), nil, "", found)
	return found
}

func walkPaths(object []byte, path []string, prefix string, found map[string][]string) {
	if len(path) >= maxJSONDepth {
		return
	}
	_ = jsonparser.ObjectEach(object, func(key, value []byte, kind jsonparser.ValueType, _ int) error {
		name := labelName(prefix, string(key))
		full := append(slices.Clip(path), string(key))
		if kind == jsonparser.Object {
			walkPaths(value, full, name, found)
		} else if found[name] == nil {
			found[name] = full
		}
		return nil
	})
}

// labelName joins a prefix and a JSON key to a label name.
func labelName(prefix, key string) string {
	clean := strings.Map(func(r rune) rune {
		if r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, key)
	if prefix != "" {
		return prefix + "_" + clean
	}
	if clean != "" && clean[0] >= '0' && clean[0] <= '9' {
		return "_" + clean
	}
	return clean
}
