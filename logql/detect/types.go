package detect

import (
	"strconv"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/prometheus/common/model"
)

// Type is what the values of a field look like.
type Type string

const (
	Unknown  Type = "" // there are only empty values
	Int      Type = "int"
	Float    Type = "float"
	Boolean  Type = "boolean"
	Duration Type = "duration"
	Bytes    Type = "bytes"
	String   Type = "string"
)

// TypeOf returns the type of a value.
func TypeOf(v string) Type {
	if v == "" {
		return Unknown
	}
	if _, err := strconv.ParseInt(v, 10, 64); err == nil {
		return Int
	}
	if _, err := strconv.ParseFloat(v, 64); err == nil {
		return Float
	}
	if _, err := strconv.ParseBool(v); err == nil {
		return Boolean
	}
	// All other types begin with a number.
	if c := v[0]; !(c >= '0' && c <= '9' || c == '-' || c == '+' || c == '.') {
		return String
	}
	if _, err := time.ParseDuration(v); err == nil {
		return Duration
	}
	if _, err := model.ParseDuration(v); err == nil {
		return Duration
	}
	if _, err := humanize.ParseBytes(v); err == nil {
		return Bytes
	}
	return String
}

// commonType returns the type of values of which some have type a and others b.
func commonType(a, b Type) Type {
	switch {
	case a == b || b == Unknown:
		return a
	case a == Unknown:
		return b
	case a == Int && b == Float, a == Float && b == Int:
		return Float
	}
	return String
}
