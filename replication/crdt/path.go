package crdt

import "strings"

// Path names a cell inside a document: the member names from the root, each
// escaped and terminated so that paths compare in byte order of their names
// and a path is a byte prefix of exactly the paths below it. The root is "".
//
// In a name, byte 0 is written 00 FF; a name ends with 00 01.
type Path string

// Child returns the path of the member name of the object at p.
func (p Path) Child(name string) Path {
	if strings.IndexByte(name, 0) >= 0 {
		name = strings.ReplaceAll(name, "\x00", "\x00\xff")
	}
	return p + Path(name) + "\x00\x01"
}

// Names returns the member names from the root to p.
func (p Path) Names() []string {
	var names []string
	for rest := string(p); rest != ""; {
		i := strings.Index(rest, "\x00\x01")
		if i < 0 {
			i = len(rest) // malformed: keep what is there
		}
		names = append(names, strings.ReplaceAll(rest[:i], "\x00\xff", "\x00"))
		rest = rest[min(i+2, len(rest)):]
	}
	return names
}

// Parent returns the path above p and the last name of p; ok is false at the root.
func (p Path) Parent() (parent Path, name string, ok bool) {
	if p == "" {
		return "", "", false
	}
	body := strings.TrimSuffix(string(p), "\x00\x01")
	i := strings.LastIndex(body, "\x00\x01") + 2
	if i < 2 {
		i = 0
	}
	return p[:i], strings.ReplaceAll(body[i:], "\x00\xff", "\x00"), true
}

// Under reports whether p is q or below it.
func (p Path) Under(q Path) bool { return strings.HasPrefix(string(p), string(q)) }

// Touches reports whether p is at, above or below q.
func (p Path) Touches(q Path) bool { return p.Under(q) || q.Under(p) }

// Pointer returns p as a JSON Pointer (RFC 6901).
func (p Path) Pointer() string {
	var b strings.Builder
	for _, n := range p.Names() {
		b.WriteByte('/')
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(n))
	}
	return b.String()
}

// ParsePointer reads a JSON Pointer (RFC 6901). ok is false when it does not
// begin with "/" or has a bad escape.
func ParsePointer(s string) (p Path, ok bool) {
	if s == "" {
		return "", true
	}
	if s[0] != '/' {
		return "", false
	}
	for name := range strings.SplitSeq(s[1:], "/") {
		for i := 0; i < len(name); i++ {
			if name[i] == '~' && (i+1 == len(name) || name[i+1] != '0' && name[i+1] != '1') {
				return "", false
			}
		}
		p = p.Child(strings.NewReplacer("~1", "/", "~0", "~").Replace(name))
	}
	return p, true
}

// Limits of a Path that comes from elsewhere: bytes, and names.
const (
	MaxPath  = 1 << 20
	maxNames = 2 * MaxDepth // merged paths are no deeper than written ones; be lenient
)

// valid reports whether p has the form of a path, within the limits.
func (p Path) valid() bool {
	return len(p) <= MaxPath && (p == "" || strings.HasSuffix(string(p), "\x00\x01")) &&
		strings.Count(string(p), "\x00\x01") <= maxNames
}
