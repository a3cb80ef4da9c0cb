package node

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
)

func TestLevels(t *testing.T) {
	t.Parallel()
	s := threeRegions(t, nil)
	levels := []atoll.Level{{Region: true}, {Regions: 1}, {Regions: 2}, {Regions: 3}, {All: true}}
	for _, l := range levels {
		key := atoll.Key(fmt.Sprint(l))
		w := atoll.Write{Key: key, Body: []byte(`{"v":1}`), Level: l}
		if _, err := s.tryWrite(tokyo, w); err != nil {
			t.Fatalf("%+v: %v", l, err)
		}
		there := 0
		for i := range s.spots {
			if s.get(i, key) == `{"v":1}` {
				there++
			}
		}
		if want := max(1, l.Regions); there < want || l.All && there < 3 {
			t.Errorf("%+v acknowledged with %d replicas", l, there)
		}
	}
	_, err := s.tryWrite(tokyo, atoll.Write{Key: "never", Body: []byte(`{}`),
		Level: atoll.Level{Regions: 4}})
	refused(t, err, atoll.DurabilityImpossible)
	if got := s.get(tokyo, "never"); got != string(atoll.NotFound) {
		t.Errorf("a write that is impossible left %s", got)
	}
}

// TestLevelAcrossACut: the answer says how far a write came; it stays, and it
// arrives when it can.
func TestLevelAcrossACut(t *testing.T) {
	t.Parallel()
	s := threeRegions(t, nil)
	s.cutOff("tokyo")
	w := atoll.Write{Key: "x", Body: []byte(`{"v":1}`), Timeout: 2 * time.Second}
	w.Level = atoll.Level{Regions: 2}
	if _, err := s.tryWrite(frankfurt, w); err != nil {
		t.Errorf("two of three regions are enough: %v", err)
	}
	for _, l := range []atoll.Level{{All: true}, {Regions: 3}} {
		w.Level = l
		begin := time.Now()
		_, err := s.tryWrite(frankfurt, w)
		e := refused(t, err, atoll.DurabilityNotReached)
		if !strings.Contains(e.Detail, "frankfurt, washington") || strings.Contains(e.Detail, "tokyo") {
			t.Errorf("%+v: %s", l, e.Detail)
		}
		if took := time.Since(begin); took < w.Timeout {
			t.Errorf("%+v: gave up after %s", l, took)
		}
	}
	w.Key, w.Level = "y", atoll.Level{Regions: 2}
	_, err := s.tryWrite(tokyo, w)
	refused(t, err, atoll.DurabilityNotReached)
	s.net.Heal()
	s.everywhere("x", `{"v":1}`)
	s.everywhere("y", `{"v":1}`)
}

func TestExplicitKeyspaces(t *testing.T) {
	t.Parallel()
	s := tunedSea(t, func(_ int, c *Config) { c.ExplicitKeyspaces = true }, "a/1", "b/1")
	s.settle()
	for _, c := range []atoll.Change{atoll.Put, atoll.Merge, atoll.Delete} {
		_, err := s.tryWrite(0, atoll.Write{Key: "x", Change: c, Body: []byte(`{}`)})
		if e := refused(t, err, atoll.UnknownKeyspace); e.Hint == "" {
			t.Error("says not what to do")
		}
	}
	_, err := s.read(0, "x", "")
	refused(t, err, atoll.UnknownKeyspace)
	made, err := s.node(0).Configure(t.Context(), testSpace, atoll.Settings{})
	if err != nil || !made {
		t.Fatalf("%v %v", made, err)
	}
	s.put(0, "x", `{}`)
	eventually(t, "b knows the keyspace", func() bool {
		_, err := s.tryWrite(1, atoll.Write{Key: "x", Body: []byte(`{"v":1}`)})
		return err == nil
	})
	s.everywhere("x", `{"v":1}`)
}

// TestFirstWriteKeepsSettings: a keyspace that is made by a write beside a cut
// does not lose the settings that were given to it on the other side.
func TestFirstWriteKeepsSettings(t *testing.T) {
	t.Parallel()
	s := threeRegions(t, nil)
	s.cutOff("tokyo")
	want := atoll.Settings{TTL: time.Hour, Conflict: "add-wins", Partitions: 64}
	if _, err := s.node(frankfurt).Configure(t.Context(), testSpace, want); err != nil {
		t.Fatal(err)
	}
	s.put(tokyo, "x", `{}`)
	s.net.Heal()
	for i, n := range s.living() {
		eventually(t, "the settings are everywhere", func() bool {
			got, err := n.Settings(t.Context(), testSpace)
			return err == nil && got.TTL == want.TTL
		})
		s.shows(i, "x", `{}`)
	}
}

// TestManySettingsAtOnce: none is missed, however fast they come.
func TestManySettingsAtOnce(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1", "b/1")
	s.settle()
	const spaces = 300
	var all sync.WaitGroup
	for i := range spaces {
		all.Go(func() {
			ks := atoll.Keyspace(fmt.Sprintf("k%d", i))
			set := atoll.Settings{TTL: time.Duration(i+1) * time.Second}
			if _, err := s.node(0).Configure(t.Context(), ks, set); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for i := range spaces {
		ks := atoll.Keyspace(fmt.Sprintf("k%d", i))
		for _, n := range s.living() {
			eventually(t, fmt.Sprintf("%s knows %s", n.Self(), ks), func() bool {
				set, err := n.Settings(t.Context(), ks)
				return err == nil && set.TTL == time.Duration(i+1)*time.Second
			})
		}
	}
}

// TestMissedChanges: what did not fit the monitor's queue is found all the same.
func TestMissedChanges(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1")
	s.settle()
	n := s.node(0)
	release := make(chan struct{})
	locked := make(chan struct{})
	go func() { // the monitor hangs at the roster while the queue fills up
		n.roster.Lock()
		close(locked)
		<-release
		n.roster.Unlock()
	}()
	<-locked
	for range 2 * cap(n.changes) {
		n.changed(replication.Change{Address: replication.Address{Keyspace: rosterSpace}})
	}
	err := n.putSystem(t.Context(), settingsSpace, "test", settingsDoc{TTL: 60_000})
	close(release)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the settings are known", func() bool {
		set, err := n.Settings(t.Context(), testSpace)
		return err == nil && set.TTL == time.Minute
	})
}

func TestDrain(t *testing.T) {
	t.Parallel()
	s := threeRegions(t, nil)
	n := s.node(frankfurt)
	drained := func(i int, r atoll.Region) func() bool {
		return func() bool { return s.state(i, r) == atoll.StateDrained }
	}
	refused(t, n.Drain(t.Context(), "atlantis", true), atoll.UnknownRegion)
	refused(t, n.Undrain(t.Context(), "atlantis"), atoll.UnknownRegion)
	for _, r := range []atoll.Region{"tokyo", "frankfurt"} {
		if err := n.Drain(t.Context(), r, false); err != nil {
			t.Fatal(err)
		}
		for i := range s.spots {
			eventually(t, string(r)+" is drained", drained(i, r))
		}
	}
	for i := range s.spots {
		e := refused(t, s.node(i).Drain(t.Context(), "washington", false), atoll.PreconditionFailed)
		if !strings.Contains(e.Hint, "force") {
			t.Errorf("hint %q", e.Hint)
		}
	}
	s.put(tokyo, "x", `{}`) // a drained region works on
	s.stop(tokyo)
	s.start(tokyo)
	eventually(t, "tokyo is back and drained", drained(tokyo, "tokyo"))
	s.everywhere("x", `{}`)
	if err := s.node(washington).Drain(t.Context(), "washington", true); err != nil {
		t.Fatal(err)
	}
	for i := range s.spots { // a node takes back what it has heard of, no more
		eventually(t, "all are drained", drained(i, "washington"))
	}
	for _, r := range []atoll.Region{"tokyo", "frankfurt", "washington"} {
		if err := s.node(tokyo).Undrain(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	s.settle()
}

// TestConflictRing: the feed keeps the newest and forgets the rest.
func TestConflictRing(t *testing.T) {
	n := new(Node)
	for i := range 3*MaxConflicts + 5 {
		n.recent.add(atoll.Conflicted{Key: atoll.Key(fmt.Sprint(i))})
		if got := len(n.Conflicts()); got > MaxConflicts {
			t.Fatalf("%d conflicts remembered", got)
		}
	}
	all := n.Conflicts()
	if len(all) < MaxConflicts*3/4 || all[0].Key != atoll.Key(fmt.Sprint(3*MaxConflicts+4)) {
		t.Errorf("%d, newest %s", len(all), all[0].Key)
	}
	if !slices.IsSortedFunc(all, func(a, b atoll.Conflicted) int {
		return len(b.Key) - len(a.Key)
	}) {
		t.Error("not the newest first")
	}
	all[0].Key = "mine" // the caller's slice is its own
	if n.Conflicts()[0].Key == "mine" {
		t.Error("the feed shares its memory")
	}
}

// TestIfMatchRaces: of those who saw the same version exactly one may write.
func TestIfMatchRaces(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1")
	etag := s.put(0, "x", `{"n":0}`).ETag
	const clients, rounds = 32, 25
	for round := range rounds {
		var wg sync.WaitGroup
		results := make([]error, clients)
		tags := make([]string, clients)
		for i := range clients {
			wg.Go(func() {
				w, err := s.tryWrite(0, atoll.Write{Key: "x", IfMatch: []string{etag},
					Body: fmt.Appendf(nil, `{"n":%d,"by":%d}`, round+1, i)})
				results[i], tags[i] = err, w.ETag
			})
		}
		wg.Wait()
		winners := 0
		for i, err := range results {
			if err == nil {
				winners++
				etag = tags[i]
				continue
			}
			refused(t, err, atoll.PreconditionFailed)
		}
		if winners != 1 {
			t.Fatalf("round %d: %d winners", round, winners)
		}
		if d, err := s.read(0, "x", ""); err != nil || d.ETag != etag {
			t.Fatalf("%v %s, want %s", err, d.ETag, etag)
		}
	}
}
