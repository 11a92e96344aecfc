package store

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/grafana/dskit/user"
	"github.com/oklog/ulid/v2"
)

// segmentsDir is where all segments are in the bucket.
const segmentsDir = "segments"

// tenantOf returns the tenant of a context.
func tenantOf(ctx context.Context) (string, error) {
	t, err := user.ExtractOrgID(ctx)
	if err != nil || t == "" {
		return "", fmt.Errorf("%w: the context has none", ErrTenant)
	}
	if len(escapeTenant(t)) > maxEscapedTenant {
		return "", fmt.Errorf("%w: %.50q… is too long", ErrTenant, t)
	}
	return t, nil
}

// maxEscapedTenant is what all file systems take as a name.
const maxEscapedTenant = 255

// escapeTenant makes a tenant's ID a name that is safe and distinct in every bucket and on every file
// system, also where upper and lower case are the same and some names are reserved: lower-case
// letters, digits, '_' and '-' stay, an upper-case letter becomes '=' and the lower-case one, and
// every other byte '%' and two digits.
func escapeTenant(t string) string {
	var b strings.Builder
	reserved := reservedName(t)
	for i := range len(t) {
		c := t[i]
		switch {
		case i == 0 && reserved:
			fmt.Fprintf(&b, "%%%02x", c)
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '_', c == '-':
			b.WriteByte(c)
		case 'A' <= c && c <= 'Z':
			b.WriteByte('=')
			b.WriteByte(c + 'a' - 'A')
		default:
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

// reservedName tells whether Windows gives the name to a device. Names with a dot are none, as dots
// are escaped.
func reservedName(t string) bool {
	switch t {
	case "con", "prn", "aux", "nul":
		return true
	}
	return len(t) == 4 && (t[:3] == "com" || t[:3] == "lpt") && '0' <= t[3] && t[3] <= '9'
}

// unescapeTenant undoes escapeTenant; false means that the name is not one that it makes.
func unescapeTenant(name string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		switch c := name[i]; c {
		case '=':
			if i++; i == len(name) || name[i] < 'a' || name[i] > 'z' {
				return "", false
			}
			b.WriteByte(name[i] - ('a' - 'A'))
		case '%':
			if i+2 >= len(name) {
				return "", false
			}
			hi, lo := strings.IndexByte("0123456789abcdef", name[i+1]), strings.IndexByte("0123456789abcdef", name[i+2])
			if hi < 0 || lo < 0 {
				return "", false
			}
			b.WriteByte(byte(hi<<4 | lo))
			i += 2
		default:
			b.WriteByte(c)
		}
	}
	t := b.String()
	return t, t != "" && escapeTenant(t) == name
}

// SegmentPath returns the name of a segment in the bucket.
func SegmentPath(tenant string, id ulid.ULID) string {
	return path.Join(segmentsDir, escapeTenant(tenant), id.String())
}
