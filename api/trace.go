package api

import (
	"encoding/hex"
	"io"
	"strings"
)

// trace is a W3C trace context (Trace Context, level 2, section 3.2): which
// request of which user this is part of, across all services it passes.
type trace struct {
	id    [16]byte
	span  [8]byte
	flags byte
}

// traceLength is that of version 00: four hex fields with a dash between.
const traceLength = 2 + 1 + 32 + 1 + 16 + 1 + 2

// parseTrace reads a traceparent header. A version later than 00 may have more
// fields; what it has of version 00 counts.
func parseTrace(s string) (t trace, ok bool) {
	if len(s) < traceLength || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return trace{}, false
	}
	version := s[:2]
	if version == "00" && len(s) != traceLength || version == "ff" {
		return trace{}, false
	}
	if len(s) > traceLength && s[traceLength] != '-' {
		return trace{}, false
	}
	var v, flags [1]byte
	ok = unhex(v[:], version) && unhex(t.id[:], s[3:35]) && unhex(t.span[:], s[36:52]) &&
		unhex(flags[:], s[53:55])
	t.flags = flags[0]
	if !ok || t.id == [16]byte{} || t.span == [8]byte{} {
		return trace{}, false
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

// continueTrace makes the trace of a request from its traceparent headers: the
// one that it carries with a span of our own, else a new one. Of the flags
// only "sampled" is passed on: we cannot speak for others.
func continueTrace(headers []string, random io.Reader) (trace, error) {
	var t trace
	if len(headers) == 1 {
		if in, ok := parseTrace(headers[0]); ok {
			t.id, t.flags = in.id, in.flags&1
		}
	}
	if t.id == [16]byte{} {
		if _, err := io.ReadFull(random, t.id[:]); err != nil {
			return trace{}, err
		}
	}
	_, err := io.ReadFull(random, t.span[:])
	return t, err
}

// ID returns the trace id as 32 hex digits.
func (t trace) ID() string { return hex.EncodeToString(t.id[:]) }

// String returns the traceparent header.
func (t trace) String() string {
	return "00-" + t.ID() + "-" + hex.EncodeToString(t.span[:]) + "-" +
		hex.EncodeToString([]byte{t.flags})
}
