package atoll

import (
	"encoding/hex"
	"strings"
	"time"
)

// Trace is a W3C trace context (Trace Context, level 2, section 3.2): which
// request of which user some work is part of, across all services it passes. The
// zero Trace is none.
type Trace struct {
	ID      [16]byte
	Span    [8]byte // the piece of work that asks for more
	Sampled bool    // somebody looks at it
}

// traceLength is that of version 00: four hex fields with a dash between.
const traceLength = 2 + 1 + 32 + 1 + 16 + 1 + 2

// ParseTrace reads a traceparent header. A version later than 00 may have more
// fields; what it has of version 00 counts. Of the flags only "sampled" is kept:
// we cannot speak for others.
func ParseTrace(s string) (t Trace, ok bool) {
	if len(s) < traceLength || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return Trace{}, false
	}
	version := s[:2]
	if version == "00" && len(s) != traceLength || version == "ff" {
		return Trace{}, false
	}
	if len(s) > traceLength && s[traceLength] != '-' {
		return Trace{}, false
	}
	var v, flags [1]byte
	ok = unhex(v[:], version) && unhex(t.ID[:], s[3:35]) && unhex(t.Span[:], s[36:52]) &&
		unhex(flags[:], s[53:55])
	t.Sampled = flags[0]&1 != 0
	if !ok || t.ID == [16]byte{} || t.Span == [8]byte{} {
		return Trace{}, false
	}
	return t, true
}

// unhex fills dst from lower-case hex digits of exactly its length.
func unhex(dst []byte, s string) bool {
	if strings.ContainsAny(s, "ABCDEF") {
		return false
	}
	_, err := hex.Decode(dst, []byte(s))
	return err == nil
}

// Hex returns the trace id as 32 hex digits; "" for the zero Trace.
func (t Trace) Hex() string {
	if t.ID == [16]byte{} {
		return ""
	}
	return hex.EncodeToString(t.ID[:])
}

// String returns the traceparent header; "" for the zero Trace.
func (t Trace) String() string {
	if t.ID == [16]byte{} {
		return ""
	}
	flags := "-00"
	if t.Sampled {
		flags = "-01"
	}
	return "00-" + t.Hex() + "-" + hex.EncodeToString(t.Span[:]) + flags
}

// Span is a piece of work of a sampled trace, told when it has ended.
type Span struct {
	Trace      Trace   // Trace.Span is its own id
	Parent     [8]byte // zero: the first of its trace
	Name       string
	Kind       SpanKind
	Begin, End time.Time
	Attributes []Attribute
	Failed     string // what went wrong; "" for nothing
}

// SpanKind says on which side of a call the work was.
type SpanKind uint8

// The kinds of span.
const (
	SpanServer SpanKind = iota // asked for by the parent
	SpanClient                 // waits for another node
)

// Attribute is a detail of a Span, named as OpenTelemetry does where it has a name.
type Attribute struct {
	Key   string
	Value any // string or int64
}
