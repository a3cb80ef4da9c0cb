package api

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api/guard"
)

// handler answers one request. An error that it returns becomes a problem; one
// returned after the answer has begun cuts the connection.
type handler func(*Server, *response, *request) error

// route is a row of the table that drives the router, the checks of roles and
// the description.
type route struct {
	method  string
	pattern string // segments, {name} for one, {name...} for the rest
	role    guard.Role
	handle  handler
	about
}

func (rt route) serves(method string) bool {
	return rt.method == method || rt.method == http.MethodGet && method == http.MethodHead
}

// match compares an escaped path with a pattern and returns the still escaped
// variables. Paths are compared as they are: nothing is cleaned or redirected,
// because "a//b" and "a/../b" are keys, and "%2F" never separates segments.
func match(pattern, path string) (vars map[string]string, ok bool) {
	for {
		want, patternRest, patternMore := strings.Cut(pattern, "/")
		if name, ok := strings.CutSuffix(want, "...}"); ok {
			return with(vars, name[1:], path), true
		}
		got, pathRest, pathMore := strings.Cut(path, "/")
		if name, ok := strings.CutPrefix(want, "{"); ok {
			vars = with(vars, strings.TrimSuffix(name, "}"), got)
		} else if want != got {
			return nil, false
		}
		if patternMore != pathMore {
			return nil, false
		}
		if !patternMore {
			return vars, true
		}
		pattern, path = patternRest, pathRest
	}
}

func with(vars map[string]string, name, value string) map[string]string {
	if vars == nil {
		vars = make(map[string]string, 2)
	}
	vars[name] = value
	return vars
}

// decode percent-decodes variables, once.
func decode(vars map[string]string) (map[string]string, error) {
	for name, escaped := range vars {
		value, err := url.PathUnescape(escaped)
		if err != nil {
			return nil, atoll.Errorf(atoll.BadKey, "the path has a broken percent-encoding").
				Because(err)
		}
		vars[name] = value
	}
	return vars, nil
}

// document returns the keyspace and the key that the path names.
func (q *request) document() (atoll.Keyspace, atoll.Key, error) {
	ks, err := q.keyspace()
	if err != nil {
		return "", "", err
	}
	key, err := atoll.ParseKey(q.vars["key"])
	return ks, key, err
}

func (q *request) keyspace() (atoll.Keyspace, error) {
	return atoll.ParseKeyspace(q.vars["keyspace"])
}

// one returns the only value of a query parameter, "" if it is not there.
func (q *request) one(name string) (string, error) {
	values := q.query[name]
	switch len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	}
	return "", atoll.Errorf(atoll.BadRequest, "the query has %s more than once", name)
}

// flag returns a query parameter that is 1, true, 0, false, empty or absent.
func (q *request) flag(name string) (bool, error) {
	v, err := q.one(name)
	if err != nil {
		return false, err
	}
	switch v {
	case "1", "true":
		return true, nil
	case "", "0", "false":
		return false, nil
	}
	return false, atoll.Errorf(atoll.BadRequest, "%s=%q", name, v).
		WithHint("use " + name + "=1 or leave it out")
}
