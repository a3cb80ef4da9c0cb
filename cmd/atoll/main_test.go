package main

import (
	"errors"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/atolledge/atoll/api"
	"github.com/atolledge/atoll/api/guard"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"atoll": main}) }

// secret is the token of the guarded node, secretDigest its SHA-256.
const (
	secret       = "open sesame"
	secretDigest = "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb"
)

// TestScripts runs testdata/script/*.txtar, each against a fresh world behind
// the real API: $ATOLL_API takes everyone on loopback for the operator, $GUARDED
// wants a token. "code N atoll …" checks the exit code.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			w := newFakeWorld()
			open, err := serve(env, w, nil)
			if err != nil {
				return err
			}
			token := guard.Token{Name: "me", SHA256: secretDigest, Role: "operator"}
			guarded, err := serve(env, w, []guard.Token{token})
			if err != nil {
				return err
			}
			stranger := httptest.NewServer(nil)
			env.Defer(stranger.Close)
			env.Setenv("ATOLL_API", open)
			env.Setenv("GUARDED", guarded)
			env.Setenv("STRANGER", stranger.URL)
			stars, err := filepath.Abs(filepath.Join("sample", "stars.ndjson"))
			if err != nil {
				return err
			}
			env.Setenv("STARS", stars)
			env.Setenv("SECRET", secret)
			env.Setenv("GORACE", "atexit_sleep_ms=0") // or each command takes a second longer
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"code": code},
	})
}

// serve starts the API over w and returns its URL.
func serve(env *testscript.Env, w *fakeWorld, tokens []guard.Token) (string, error) {
	g, err := guard.New(tokens)
	if err != nil {
		return "", err
	}
	s, err := api.New(api.Config{
		Node: w, Guard: g, Explain: w.explain, Watch: w.Watch,
		Mounts: []api.Mount{{
			Prefix: "/v1/dev/", Read: guard.Reader, Write: guard.Operator, Handler: w.dev(),
		}},
	})
	if err != nil {
		return "", err
	}
	server := httptest.NewServer(s)
	env.Defer(server.Close)
	return server.URL, nil
}

// code runs a command and wants an exit code.
func code(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}
