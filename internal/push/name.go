package push

// ValidName reports whether name can be a label name: letters, digits and underscores, and no digit at
// the start.
func ValidName(name string) bool {
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		return false
	}
	for i := 0; i < len(name); i++ {
		if !nameByte(name[i]) {
			return false
		}
	}
	return true
}

func nameByte(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '_'
}

// CleanName makes a label name of any text: each character that cannot be in one becomes an
// underscore, and a leading digit gets one in front. The empty text becomes "_".
func CleanName(name string) string {
	if ValidName(name) {
		return name
	}
	out := make([]byte, 0, len(name)+1)
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		out = append(out, '_')
	}
	for _, r := range name { // by character, not by byte
		if r < 0x80 && nameByte(byte(r)) {
			out = append(out, byte(r))
		} else {
			out = append(out, '_')
		}
	}
	return string(out)
}
