package store

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestEmptyFilesOfACrash: a process that dies while Badger makes or deletes a file
// leaves it behind with nothing in it. The next start takes no notice.
func TestEmptyFilesOfACrash(t *testing.T) {
	dir := t.TempDir()
	for round := range 3 {
		s := open(t, dir)
		chunks, err := s.OpenChunks(time.Now)
		if err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			commit(t, s, write("a", "1"))
		}
		if got := snapshot(t, s, "a", "b"); got != "a=1" {
			t.Errorf("round %d: %q", round, got)
		}
		if err := chunks.Close(); err != nil {
			t.Fatal(err)
		}
		closed(t, s)
		for _, name := range []string{"badger/00009.mem", "badger/000009.vlog", "chunks/00009.mem",
			"chunks/000009.vlog"} {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}
