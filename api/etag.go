package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/atolledge/atoll"
)

// MaxTags is how many entity tags one If-Match or If-None-Match may list.
const MaxTags = 64

// tag is one entity tag (RFC 9110, section 8.8.3), or "*" when any is set.
type tag struct {
	opaque string // without its quotes
	weak   bool
	any    bool
}

// parseTags reads the lists of all If-Match or If-None-Match headers (RFC 9110,
// section 13.1.1): "*" alone or a comma-separated list of entity tags. No
// header gives nil.
func parseTags(name string, headers []string) ([]tag, error) {
	if len(headers) == 0 {
		return nil, nil
	}
	rest := strings.Join(headers, ",")
	if strings.Trim(rest, " \t") == "*" {
		return []tag{{any: true}}, nil
	}
	var tags []tag
	for {
		rest = strings.TrimLeft(rest, " \t,")
		if rest == "" {
			break
		}
		t, after, ok := cutTag(rest)
		if !ok {
			return nil, badTags(name)
		}
		if len(tags) == MaxTags {
			return nil, badTags(name).WithLimit("entity tags", MaxTags)
		}
		tags, rest = append(tags, t), after
	}
	if len(tags) == 0 {
		return nil, badTags(name)
	}
	return tags, nil
}

// cutTag reads one entity tag from the front of s, up to the comma or the end.
func cutTag(s string) (t tag, rest string, ok bool) {
	s, t.weak = strings.CutPrefix(s, "W/")
	if s, ok = strings.CutPrefix(s, `"`); !ok {
		return tag{}, "", false
	}
	end := strings.IndexByte(s, '"')
	if end < 0 || strings.ContainsFunc(s[:end], notInTag) {
		return tag{}, "", false
	}
	t.opaque, rest = s[:end], strings.TrimLeft(s[end+1:], " \t")
	return t, rest, rest == "" || rest[0] == ','
}

// notInTag reports what etagc of RFC 9110, section 8.8.3, leaves out.
func notInTag(r rune) bool { return r <= ' ' || r == 0x7f }

func badTags(name string) *atoll.Error {
	return atoll.Errorf(atoll.BadRequest, "the %s header is not a list of entity tags", name).
		WithHint(`send * or tags in double quotes as ETag has them: "0123abcd", "4567cdef"`)
}

// matches reports whether the tags name the document whose tag is etag; weakly
// says whether W/"x" is "x" (RFC 9110, section 8.8.3.2).
func matches(tags []tag, etag string, weakly bool) bool {
	return slices.ContainsFunc(tags, func(t tag) bool {
		return t.any || t.opaque == etag && (weakly || !t.weak)
	})
}

// conditions translates tags to atoll.Write's: "*" for any, else what to
// compare with a document's ETag. A tag that can match nothing keeps its
// quotes, so that it stays in the list and still matches nothing.
func conditions(tags []tag, weakly bool) []string {
	var out []string
	for _, t := range tags {
		switch {
		case t.any:
			out = append(out, "*")
		case t.weak && !weakly || t.opaque == "*":
			out = append(out, `"`+t.opaque+`"`)
		default:
			out = append(out, t.opaque)
		}
	}
	return out
}

// preconditions reads both headers of r.
func preconditions(r *http.Request) (ifMatch, ifNoneMatch []tag, err error) {
	if ifMatch, err = parseTags("If-Match", r.Header.Values("If-Match")); err != nil {
		return nil, nil, err
	}
	ifNoneMatch, err = parseTags("If-None-Match", r.Header.Values("If-None-Match"))
	return ifMatch, ifNoneMatch, err
}

func quote(etag string) string { return `"` + etag + `"` }
