package store

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/atolledge/atoll/replication"
)

// The tests below run this test binary again as another process. childEnv names
// what it does, in dirEnv.
const (
	childEnv = "ATOLL_STORE_CHILD"
	dirEnv   = "ATOLL_STORE_DIR"
)

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "write":
		writeForEver(os.Getenv(dirEnv))
	case "open":
		_, err := Open(config(os.Getenv(dirEnv)))
		fmt.Println(err)
	default:
		os.Exit(m.Run())
	}
}

// writeForEver commits batches and says after each that it is durable.
func writeForEver(dir string) {
	s, err := Open(config(dir))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	v := s.Snapshot()
	n := number(v, []byte("last"))
	v.Close()
	for {
		n++
		err := s.Commit([]replication.Write{
			{Key: []byte("last"), Value: encode(n)},
			// Some values go to the value log.
			{Key: fmt.Appendf(nil, "doc/%020d", n), Value: make([]byte, n%5*20_000)},
			{Key: fmt.Appendf(nil, "index/%020d", n), Value: encode(n)},
			{Key: fmt.Appendf(nil, "doc/%020d", n-7)},
		})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(n)
	}
}

func encode(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func child(what, dir string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+what, dirEnv+"="+dir)
	return cmd
}

// TestInUseByAnotherProcess: the other process is told so, in words.
func TestInUseByAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	defer closed(t, s)
	out, err := child("open", dir).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "in use by another atoll process") {
		t.Errorf("it said %q, %v", out, err)
	}
}

// TestKill ends a process that writes without warning, ten times: what it said
// to be durable is there, and of what it did not say all or nothing.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	for round := range 10 {
		said := killAfter(t, dir, 20+5*round)
		s := open(t, dir)
		v := s.Snapshot()
		last := number(v, []byte("last"))
		if last < said {
			t.Errorf("round %d: %d was durable, %d is there", round, said, last)
		}
		if got := number(v, fmt.Appendf(nil, "index/%020d", last)); got != last {
			t.Errorf("round %d: batch %d is torn", round, last)
		}
		checkDocuments(t, v, last)
		v.Close()
		closed(t, s)
	}
}

// killAfter lets a process commit n batches, kills it and returns the last
// batch that it said was durable.
func killAfter(t *testing.T, dir string, n int) (said uint64) {
	t.Helper()
	cmd := child("write", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for i := 0; lines.Scan(); i++ {
		if said, err = strconv.ParseUint(lines.Text(), 10, 64); err != nil {
			t.Fatalf("the writer said %q", lines.Text())
		}
		if i == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the writer ended by itself")
	}
	return said
}

// checkDocuments wants the seven documents before and with last, and no other.
func checkDocuments(t *testing.T, v *Snapshot, last uint64) {
	t.Helper()
	n := last - min(last, 7)
	for k, b := range v.Scan([]byte("doc/"), []byte("doc0")) {
		n++
		if want := fmt.Sprintf("doc/%020d", n); string(k) != want || len(b) != int(n%5)*20_000 {
			t.Errorf("there is %s with %d bytes, want %s", k, len(b), want)
		}
	}
	if n != last || v.Err() != nil {
		t.Errorf("the documents end at %d of %d: %v", n, last, v.Err())
	}
}
