package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/atolledge/atoll"
)

// stdio is where a command reads and writes.
type stdio struct {
	in  *os.File
	out *os.File
	err *os.File
}

// printf writes a result. A reader that has gone away ends the command by
// SIGPIPE, as it does every Unix tool.
func (s *stdio) printf(format string, args ...any) { fmt.Fprintf(s.out, format, args...) }

// usageError is a command line that makes no sense, found after parsing.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func misuse(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// misused turns what the nouns refuse in an argument into misuse.
func misused(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err}
}

// report writes what went wrong, why and what to do next, and returns the exit
// code for it.
func report(w io.Writer, command string, err error) int {
	if err == nil {
		return 0
	}
	words := err.Error()
	var known *atoll.Error
	if errors.As(err, &known) && (known.Kind == atoll.Internal || known.Kind == atoll.BadRequest) {
		// These two are names of a status; to a person they say nothing.
		words = strings.Replace(words, string(known.Kind)+": ", "", 1)
	}
	fmt.Fprintf(w, "atoll %s: %s\n", subcommand(command), words)
	if known != nil {
		if known.Limit != nil {
			fmt.Fprintf(w, "  limit: %s, %d\n", known.Limit.Name, known.Limit.Value)
		}
		if known.Hint != "" {
			fmt.Fprintf(w, "  hint: %s\n", known.Hint)
		}
	}
	if _, misused := errors.AsType[usageError](err); misused {
		return exitMisuse
	}
	return exitFailed
}

// subcommand is a command as kong names it, without its arguments.
func subcommand(command string) string {
	words, _, _ := strings.Cut(command, " <")
	return words
}

// detail is what err says to a user, without its kind.
func detail(err error) string {
	if e, ok := errors.AsType[*atoll.Error](err); ok {
		return e.Detail
	}
	return err.Error()
}

// hint is what err tells a user to do, or "".
func hint(err error) string {
	if e, ok := errors.AsType[*atoll.Error](err); ok {
		return e.Hint
	}
	return ""
}
