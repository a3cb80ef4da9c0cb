package atoll

import (
	"errors"
	"fmt"
)

// Kind is the closed table of what can go wrong for a user. Each edge (HTTP,
// Redis protocol, DNS, exit code) translates it once.
type Kind string

// The kinds of error.
const (
	BadRequest           Kind = "bad-request"
	BadJSON              Kind = "bad-json"
	DuplicateKey         Kind = "duplicate-key"
	BadKey               Kind = "bad-key"
	TooLarge             Kind = "too-large"
	KeyTooLong           Kind = "key-too-long"
	UnsupportedMediaType Kind = "unsupported-media-type"
	Unauthenticated      Kind = "unauthenticated"
	Forbidden            Kind = "forbidden"
	NotFound             Kind = "not-found"
	UnknownKeyspace      Kind = "unknown-keyspace"
	UnknownRegion        Kind = "unknown-region"
	PreconditionFailed   Kind = "precondition-failed"
	KindClash            Kind = "kind-clash"
	AtBound              Kind = "at-bound"
	DurabilityImpossible Kind = "durability-impossible"
	RateLimited          Kind = "rate-limited"
	BehindSession        Kind = "behind"
	NoRights             Kind = "no-rights"
	DurabilityNotReached Kind = "durability-not-reached"
	Fenced               Kind = "fenced"
	ShuttingDown         Kind = "shutting-down"
	DiskFull             Kind = "disk-full"
	Internal             Kind = "internal"
)

// Error is an error that a user may see. Kind is for the program, Detail and
// Hint for the human, Err for the log.
type Error struct {
	Kind   Kind
	Detail string // what was wrong, naming the value
	Hint   string // what to do next; may be empty
	Limit  *Limit // the limit that was exceeded, if one was
	Err    error  // the cause, never shown to a user
}

// Limit names a limit and its value.
type Limit struct {
	Name  string
	Value int64
}

func (e *Error) Error() string {
	s := string(e.Kind) + ": " + e.Detail
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error of a kind with a detail for the user.
func Errorf(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Detail: fmt.Sprintf(format, args...)}
}

// Because returns e with its cause, which the log shows and a user never sees.
func (e *Error) Because(cause error) *Error {
	e.Err = cause
	return e
}

// WithHint returns e with what the user can do about it.
func (e *Error) WithHint(hint string) *Error {
	e.Hint = hint
	return e
}

// WithLimit returns e naming the limit that was exceeded.
func (e *Error) WithLimit(name string, value int64) *Error {
	e.Limit = &Limit{Name: name, Value: value}
	return e
}

// KindOf returns the kind of err: Internal for an error that has none, "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}
