package guard_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api/guard"
)

func sum(token string) string {
	d := sha256.Sum256([]byte(token))
	return hex.EncodeToString(d[:])
}

func mustGuard(t *testing.T, tokens ...guard.Token) *guard.Guard {
	t.Helper()
	g, err := guard.New(tokens)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func three(t *testing.T) *guard.Guard {
	return mustGuard(t,
		guard.Token{Name: "shop", SHA256: sum("r-secret"), Role: "reader"},
		guard.Token{Name: "desk", SHA256: sum("w-secret"), Role: "writer"},
		guard.Token{Name: "ops", SHA256: strings.ToUpper(sum("o-secret")), Role: "operator"})
}

func TestIdentify(t *testing.T) {
	g, open := three(t), mustGuard(t)
	for _, c := range []struct {
		name     string
		guard    *guard.Guard
		auth     []string
		loopback bool
		want     guard.Principal
		kind     atoll.Kind
	}{
		{"no tokens, loopback", open, nil, true,
			guard.Principal{Name: "loopback", Role: guard.Operator}, ""},
		{"no tokens, from afar", open, nil, false, guard.Principal{}, ""},
		{"no tokens, a token given", open, []string{"Bearer x"}, true,
			guard.Principal{}, atoll.Unauthenticated},
		{"tokens, loopback gets nothing", g, nil, true, guard.Principal{}, ""},
		{"reader", g, []string{"Bearer r-secret"}, false,
			guard.Principal{Name: "shop", Role: guard.Reader}, ""},
		{"writer", g, []string{"Bearer w-secret"}, true,
			guard.Principal{Name: "desk", Role: guard.Writer}, ""},
		{"operator, upper-case digest", g, []string{"Bearer o-secret"}, false,
			guard.Principal{Name: "ops", Role: guard.Operator}, ""},
		{"the scheme has no case", g, []string{"bEARER r-secret"}, false,
			guard.Principal{Name: "shop", Role: guard.Reader}, ""},
		{"spaces around", g, []string{"Bearer   r-secret "}, false,
			guard.Principal{Name: "shop", Role: guard.Reader}, ""},
		{"a wrong token", g, []string{"Bearer r-secre"}, false,
			guard.Principal{}, atoll.Unauthenticated},
		{"the digest is no token", g, []string{"Bearer " + sum("r-secret")}, false,
			guard.Principal{}, atoll.Unauthenticated},
		{"a name is no token", g, []string{"Bearer shop"}, false,
			guard.Principal{}, atoll.Unauthenticated},
		{"another scheme", g, []string{"Basic r-secret"}, false,
			guard.Principal{}, atoll.Unauthenticated},
		{"no token in it", g, []string{"Bearer "}, false, guard.Principal{}, atoll.Unauthenticated},
		{"empty", g, []string{""}, true, guard.Principal{}, atoll.Unauthenticated},
		{"two headers", g, []string{"Bearer r-secret", "Bearer o-secret"}, false,
			guard.Principal{}, atoll.Unauthenticated},
		{"too long", g, []string{"Bearer " + strings.Repeat("x", guard.MaxBearer+1)}, false,
			guard.Principal{}, atoll.Unauthenticated},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.guard.Identify(c.auth, c.loopback)
			if got != c.want || atoll.KindOf(err) != c.kind {
				t.Errorf("got %+v %v, want %+v %q", got, err, c.want, c.kind)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error shows the token: %v", err)
			}
		})
	}
}

func TestRequire(t *testing.T) {
	roles := []guard.Role{guard.Anyone, guard.Reader, guard.Writer, guard.Operator}
	for _, has := range roles {
		for _, need := range roles {
			var want atoll.Kind
			switch {
			case has >= need:
			case has == guard.Anyone:
				want = atoll.Unauthenticated
			default:
				want = atoll.Forbidden
			}
			err := guard.Require(guard.Principal{Name: "x", Role: has}, need)
			if got := atoll.KindOf(err); got != want {
				t.Errorf("has %v, need %v: got %q, want %q", has, need, got, want)
			}
		}
	}
}

func TestNewRefuses(t *testing.T) {
	ok := guard.Token{Name: "a", SHA256: sum("a"), Role: "reader"}
	many := make([]guard.Token, guard.MaxTokens+1)
	for i := range many {
		name := fmt.Sprint("t", i)
		many[i] = guard.Token{Name: name, SHA256: sum(name), Role: "reader"}
	}
	for _, c := range []struct {
		name   string
		tokens []guard.Token
		want   string // in the message; "" for accepted
	}{
		{"good", []guard.Token{ok}, ""},
		{"as many as the limit", many[:guard.MaxTokens], ""},
		{"no name", []guard.Token{{SHA256: sum("a"), Role: "reader"}}, "no name"},
		{"short digest", []guard.Token{{Name: "a", SHA256: "abcd", Role: "reader"}}, "64 hex"},
		{"not hex", []guard.Token{{Name: "a", SHA256: strings.Repeat("zz", 32), Role: "reader"}},
			"64 hex"},
		{"the token itself", []guard.Token{{Name: "a", SHA256: "hunter2", Role: "reader"}}, "64 hex"},
		{"no role", []guard.Token{{Name: "a", SHA256: sum("a")}}, "role"},
		{"anyone is no role to give", []guard.Token{{Name: "a", SHA256: sum("a"), Role: "anyone"}},
			"role"},
		{"name twice", []guard.Token{ok, {Name: "a", SHA256: sum("b"), Role: "reader"}}, "[1]"},
		{"digest twice", []guard.Token{ok, {Name: "b", SHA256: sum("a"), Role: "reader"}}, "[1]"},
		{"too many", many, "api.tokens"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, err := guard.New(c.tokens)
			if c.want == "" {
				if err != nil || g.Tokens() != len(c.tokens) {
					t.Fatalf("got %v", err)
				}
				return
			}
			if atoll.KindOf(err) != atoll.BadRequest || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want one about %q", err, c.want)
			}
		})
	}
}

func TestParseRole(t *testing.T) {
	for _, r := range []guard.Role{guard.Reader, guard.Writer, guard.Operator} {
		if got, err := guard.ParseRole(r.String()); err != nil || got != r {
			t.Errorf("%v: got %v %v", r, got, err)
		}
	}
	for _, s := range []string{"", "Reader", "admin", guard.Anyone.String()} {
		if _, err := guard.ParseRole(s); atoll.KindOf(err) != atoll.BadRequest {
			t.Errorf("%q is a role: %v", s, err)
		}
	}
}

func TestHosts(t *testing.T) {
	h, err := guard.NewHosts([]string{"Api.Example.COM.", "*.atoll.test"})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{
		"127.0.1.1":                     true,
		"127.0.1.1:8080":                true,
		"203.0.113.9:443":               true,
		"[::1]":                         true,
		"[::1]:8080":                    true,
		"[fe80::1%eth0]:8080":           true,
		"localhost":                     true,
		"LOCALHOST:8080":                true,
		"localhost.":                    true,
		"api.example.com":               true,
		"API.example.com.:8443":         true,
		"tokyo.atoll.test:8080":         true,
		"www.atoll.test":                true,
		"":                              false,
		":8080":                         false,
		"atoll.test":                    false,
		"a.b.atoll.test":                false,
		"*.atoll.test":                  false,
		".atoll.test":                   false,
		"example.com":                   false,
		"evil.example":                  false,
		"api.example.com.evil.example":  false,
		"localhost.evil.example":        false,
		"127.0.0.1.evil.example":        false,
		"localhost:":                    false,
		"localhost:http":                false,
		"localhost:99999":               false,
		"localhost:-1":                  false,
		"::1":                           false,
		"[127.0.0.1]":                   false,
		"[::1":                          false,
		"::1]":                          false,
		"[::1]x":                        false,
		"user@localhost":                false,
		"local host":                    false,
		strings.Repeat("a.", 200) + "x": false,
	} {
		if got := h.Allow(host); got != want {
			t.Errorf("Allow(%q) = %v, want %v", host, got, want)
		}
	}
}

func TestNewHostsRefuses(t *testing.T) {
	for _, s := range []string{
		"", "*", "*.", "a b", "http://x", "x:80", "*.*.x", "a..b", strings.Repeat("a", 64),
	} {
		if _, err := guard.NewHosts([]string{s}); atoll.KindOf(err) != atoll.BadRequest {
			t.Errorf("%q is taken: %v", s, err)
		}
	}
}

// FuzzHosts holds Allow to a rule that needs no parser: with nothing
// configured, only localhost and characters of addresses get through.
func FuzzHosts(f *testing.F) {
	for _, s := range []string{"localhost:1", "127.0.0.1", "[::1]:80", "x.test", "[", "]:1", "a:b:c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !(guard.Hosts{}).Allow(s) {
			return
		}
		lower := strings.ToLower(s)
		name, _, _ := strings.Cut(lower, ":")
		if strings.TrimSuffix(name, ".") == "localhost" || strings.HasPrefix(s, "[") {
			return
		}
		if strings.Trim(s, "0123456789.:") != "" {
			t.Errorf("%q is allowed", s)
		}
	})
}
