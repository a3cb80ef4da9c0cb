package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMediaScripts runs testdata/media/*.txtar against a real node. $WORK/film is
// 5 MiB and some of bytes.
func TestMediaScripts(t *testing.T) {
	h, err := openHost(testHost(t))
	if err != nil {
		t.Fatal(err)
	}
	h.run()
	defer func() {
		if err := h.close(); err != nil {
			t.Error(err)
		}
	}()
	film := make([]byte, 5<<20+77)
	for i := range film {
		film[i] = byte(i * i >> 7)
	}
	t.Run("scripts", func(t *testing.T) { // ends before the node
		testscript.Run(t, testscript.Params{
			Dir: filepath.Join("testdata", "media"),
			Setup: func(env *testscript.Env) error {
				env.Setenv("ATOLL_API", "http://"+h.http.Addr().String())
				env.Setenv("GORACE", "atexit_sleep_ms=0")
				return os.WriteFile(filepath.Join(env.WorkDir, "film"), film, 0o600)
			},
			Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"code": code},
		})
	})
}
