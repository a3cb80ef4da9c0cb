// Package guard provides the decisions on who may do what: bearer tokens and
// their roles, and the host names that a request may be for. It is pure: a
// request's headers and address go in, a Principal or an *atoll.Error comes out.
package guard

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"strings"

	"github.com/atolledge/atoll"
)

// Limits of a request's credentials and of the configuration.
const (
	MaxBearer = 512  // bytes of a token: more is no secret, only work for the hash
	MaxTokens = 1024 // configured tokens: each request is compared with all of them
)

// Role says what a Principal may do. Each role may do all that those below it
// may.
type Role uint8

// The roles, in ascending order.
const (
	Anyone   Role = iota // no token needed: liveness, readiness, the description
	Reader               // reads documents and the state of the cluster
	Writer               // changes documents
	Operator             // changes keyspaces and takes regions out of DNS
)

// String returns the word for r that the configuration uses; "anyone" is in no
// configuration.
func (r Role) String() string {
	switch r {
	case Reader:
		return "reader"
	case Writer:
		return "writer"
	case Operator:
		return "operator"
	}
	return "anyone"
}

// ParseRole reads reader, writer or operator.
func ParseRole(s string) (Role, error) {
	for _, r := range []Role{Reader, Writer, Operator} {
		if s == r.String() {
			return r, nil
		}
	}
	return Anyone, atoll.Errorf(atoll.BadRequest, "role %q", s).
		WithHint("a role is reader, writer or operator")
}

// Token is one configured token. The token itself is nowhere: SHA256 is the
// digest of its bytes as 64 hex digits.
type Token struct {
	Name   string // for the access log
	SHA256 string
	Role   string // reader, writer or operator
}

// Principal is who sends a request.
type Principal struct {
	Name string // the token's name, "loopback" or "" for anyone
	Role Role
}

// May returns atoll.Forbidden if p's role is below need.
func (p Principal) May(need Role) error {
	if p.Role >= need {
		return nil
	}
	return atoll.Errorf(atoll.Forbidden, "%q has the role %s, this call needs %s",
		p.Name, p.Role, need).WithHint("use a token whose role is " + need.String() + " or above")
}

// Guard is a set of tokens. It does not change, so any number of goroutines may
// use it; to reload tokens, make a new one and swap the pointer.
type Guard struct {
	tokens []entry
}

type entry struct {
	digest    [sha256.Size]byte
	principal Principal
}

// New checks the configured tokens: a name and a digest stand for one token
// only. No token at all is right for a node that listens on loopback only.
func New(tokens []Token) (*Guard, error) {
	if len(tokens) > MaxTokens {
		return nil, atoll.Errorf(atoll.BadRequest, "%d api.tokens", len(tokens)).
			WithLimit("api.tokens", MaxTokens)
	}
	g := &Guard{}
	for i, t := range tokens {
		e, err := parse(t)
		if err != nil {
			return nil, err
		}
		for _, other := range g.tokens {
			if other.principal.Name == t.Name || other.digest == e.digest {
				return nil, atoll.Errorf(atoll.BadRequest,
					"api.tokens[%d] %q has the name or the sha256 of %q", i, t.Name,
					other.principal.Name)
			}
		}
		g.tokens = append(g.tokens, e)
	}
	return g, nil
}

func parse(t Token) (entry, error) {
	if t.Name == "" {
		return entry{}, atoll.Errorf(atoll.BadRequest, "a token of api.tokens has no name").
			WithHint("the name goes to the access log")
	}
	digest, err := hex.DecodeString(t.SHA256)
	if err != nil || len(digest) != sha256.Size {
		return entry{}, atoll.Errorf(atoll.BadRequest, "the sha256 of token %q is not 64 hex digits",
			t.Name).WithHint("make it with: printf %s TOKEN | sha256sum")
	}
	role, err := ParseRole(t.Role)
	if err != nil {
		return entry{}, atoll.Errorf(atoll.BadRequest, "token %q: role %q", t.Name, t.Role).
			WithHint("a role is reader, writer or operator")
	}
	return entry{[sha256.Size]byte(digest), Principal{t.Name, role}}, nil
}

// Tokens returns how many tokens are configured.
func (g *Guard) Tokens() int { return len(g.tokens) }

// Identify returns who sends a request, from all its Authorization headers and
// whether its peer's address is loopback. Without tokens configured a loopback
// peer is operator; a request without credentials is otherwise Anyone, which
// is not yet an error: some calls need no role. Credentials that are given and
// wrong are atoll.Unauthenticated, also where none were needed.
func (g *Guard) Identify(authorization []string, loopback bool) (Principal, error) {
	switch {
	case len(authorization) == 0 && len(g.tokens) == 0 && loopback:
		return Principal{"loopback", Operator}, nil
	case len(authorization) == 0:
		return Principal{}, nil
	case len(authorization) > 1:
		return Principal{}, unauthenticated("more than one Authorization header")
	}
	scheme, token, _ := strings.Cut(authorization[0], " ")
	token = strings.Trim(token, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return Principal{}, unauthenticated("the Authorization header is not \"Bearer TOKEN\"")
	}
	if len(token) > MaxBearer {
		return Principal{}, unauthenticated("the token is too long").
			WithLimit("token bytes", MaxBearer)
	}
	return g.compare(token)
}

// compare looks at every configured token and at all bytes of each, so that
// the time it takes says nothing about them.
func (g *Guard) compare(token string) (Principal, error) {
	digest := sha256.Sum256([]byte(token))
	found := -1
	for i := range g.tokens {
		equal := subtle.ConstantTimeCompare(digest[:], g.tokens[i].digest[:])
		found = subtle.ConstantTimeSelect(equal, i, found)
	}
	if found < 0 {
		return Principal{}, unauthenticated("the token is not known here")
	}
	return g.tokens[found].principal, nil
}

// Require returns atoll.Unauthenticated if p is nobody yet and need asks for
// somebody, atoll.Forbidden if p's role does not suffice.
func Require(p Principal, need Role) error {
	if need > Anyone && p.Role == Anyone {
		return unauthenticated("this call needs a token whose role is " + need.String())
	}
	return p.May(need)
}

func unauthenticated(detail string) *atoll.Error {
	return atoll.Errorf(atoll.Unauthenticated, "%s", detail).
		WithHint("send Authorization: Bearer TOKEN with a token of api.tokens")
}
