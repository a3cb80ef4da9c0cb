package replication

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
)

var rewriteScripts = flag.Bool("rewrite", false, "write what the scripts in testdata say anew")

// A script is a file in testdata: commands, a line of dashes, what then
// happened, an empty line, and so on. Lines that begin with # are comments.
// Time is virtual, what a step writes is durable at once, and messages wait
// until they are let through. The commands:
//
//	nodes N…               the members, in order of their origins 1, 2, …; all connected
//	layout N…              who the members are from now on, as all nodes hear
//	links N-M…             who speaks to whom from now on, as all nodes hear
//	lapse N…               for whom nobody waits from now on
//	forget N…              who is forgotten from now on, as all nodes hear
//	roster N…              whom the roster names from now on
//	join N                 a new, empty member, connected to all
//	restart N              a new process on what is durable
//	up|down N M            a connection
//	write N KEY VALUE [LEVEL [TIMEOUT]]   also: inc, delete, bound (at VALUE), expire N KEY D
//	yield N                gives all rights of N away
//	await N M|ORIGIN:SEQ [TIMEOUT]        until N has what M has now, or a dot
//	flow                   lets all messages through, without time passing
//	drop                   loses all messages
//	pass D                 lets messages through and time pass
//	cut N                  drops the index of N
//	liars N…               say from now on only what the script makes them say
//	say N M MESSAGE        a message from N to M that N would never send, see lie
//	show N…                clock, documents, ghosts and open pulls
//	keys N KEY             how many keys of the store and of its index name a document
//	skew N D               its clock is ahead of the others
type script struct {
	t       *testing.T
	now     time.Time
	nodes   []*scripted
	net     []sent
	pulls   []open
	calls   uint64
	out     strings.Builder
	start   time.Time
	members []Member

	lapsed, forgotten, writers []atoll.Origin
	links                      []Link
	liars                      []atoll.NodeID // say only what the script makes them say
}

type scripted struct {
	Member
	store *Memory
	core  *Core
	wake  time.Time // of the script
	skew  time.Duration
	up    []atoll.NodeID
}

func (n *scripted) name() string { return string(n.Node) }

type sent struct {
	from, to atoll.NodeID
	m        Message
}

type open struct {
	from *scripted
	OpenPull
}

func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, got := runScript(t, file)
			if *rewriteScripts {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if got != text {
				t.Errorf("%s: something else happened:\n%s", file, diff(text, got))
			}
		})
	}
}

// runScript returns what a script says and what happened.
func runScript(t *testing.T, file string) (want, got string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := &script{t: t, now: start, start: start}
	return string(text), s.run(string(text))
}

// diff shows from where on two texts differ.
func diff(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	show := func(lines []string) string {
		return strings.Join(lines[min(i, len(lines)):min(i+8, len(lines))], "\n")
	}
	return fmt.Sprintf("line %d is\n%s\nwant\n%s", i+1, show(b), show(a))
}

// run carries out a script and returns it with what happened.
func (s *script) run(text string) string {
	var out strings.Builder
	saying := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "----":
			saying = true
			fmt.Fprintf(&out, "----\n%s", s.out.String())
			s.out.Reset()
		case line == "":
			saying = false
			out.WriteString("\n")
		case !saying:
			fmt.Fprintln(&out, line)
			if !strings.HasPrefix(line, "#") {
				s.command(strings.Fields(line))
			}
		}
	}
	if s.out.Len() > 0 {
		fmt.Fprintf(&out, "----\n%s", s.out.String())
	}
	return out.String()
}

func (s *script) say(format string, args ...any) { fmt.Fprintf(&s.out, format+"\n", args...) }

func (s *script) node(name string) *scripted {
	for _, n := range s.nodes {
		if n.name() == name {
			return n
		}
	}
	s.t.Fatalf("there is no node %s", name)
	return nil
}

func (s *script) command(f []string) {
	switch cmd, args := f[0], append(f[1:], "", "", "", ""); cmd {
	case "nodes":
		for _, name := range f[1:] {
			s.join(name)
		}
		s.net = nil // greetings of empty nodes say nothing
	case "join":
		s.join(args[0])
	case "restart":
		s.restart(s.node(args[0]))
	case "layout":
		var members []Member
		for _, name := range f[1:] {
			members = append(members, s.node(name).Member)
		}
		s.layout(members)
	case "links":
		s.relink(f[1:])
	case "lapse":
		s.lapsed = s.origins(f[1:])
		s.layout(s.members)
	case "forget":
		s.forgotten = s.origins(f[1:])
		s.layout(s.members)
	case "roster":
		s.writers = s.origins(f[1:])
		s.layout(s.members)
	case "up":
		s.connect(s.node(args[0]), s.node(args[1]))
	case "down":
		s.disconnect(s.node(args[0]), s.node(args[1]))
	case "skew":
		s.node(args[0]).skew = s.duration(args[1], 0)
	case "keys":
		n := s.node(args[0])
		s.say("%s stores %d", n.Node, naming(n.store, atoll.Key(args[1])))
	case "write", "inc", "bound", "delete", "expire":
		s.change(f)
	case "yield":
		s.calls++
		s.step(s.node(args[0]), Yield{ID: s.calls})
	case "await":
		s.await(s.node(args[0]), args[1], args[2])
	case "flow":
		s.flow()
	case "drop":
		s.say("%d messages are lost", len(s.net))
		s.net = nil
	case "pass":
		s.pass(args[0])
	case "cut":
		n := s.node(args[0])
		for _, r := range slices.Clone(n.core.find(testAddress).clock.Runs()) {
			s.step(n, Cut{testAddress, r})
		}
	case "say":
		s.lie(s.node(args[0]), s.node(args[1]), f[3:])
	case "liars":
		for _, name := range f[1:] {
			s.liars = append(s.liars, s.node(name).Node)
		}
	case "show":
		for _, name := range f[1:] {
			s.show(s.node(name))
		}
	default:
		s.t.Fatalf("unknown command %q", f)
	}
}

func (s *script) join(name string) {
	node := atoll.NodeID(name)
	n := &scripted{Member: Member{Origin: atoll.Origin(len(s.nodes) + 1), Node: node,
		Region: node.Region()}, store: NewMemory()}
	s.nodes = append(s.nodes, n)
	s.restart(n)
	var members []Member
	for _, m := range s.nodes {
		members = append(members, m.Member)
		if m != n {
			s.connect(n, m)
		}
	}
	s.layout(members)
}

// laid returns the layout as all nodes hear of it.
func (s *script) laid() Layout {
	return Layout{Members: s.members, Links: s.links, Lapsed: s.lapsed, Forgotten: s.forgotten,
		Writers: s.writers}
}

// origins returns those of the nodes that are named.
func (s *script) origins(names []string) (all []atoll.Origin) {
	for _, name := range names {
		all = append(all, s.node(name).Origin)
	}
	return all
}

func (s *script) layout(members []Member) {
	s.members = members
	for _, n := range s.nodes {
		s.step(n, s.laid())
	}
}

// relink makes the cluster an overlay.
func (s *script) relink(names []string) {
	s.links = nil
	for i, n := range s.nodes {
		for _, m := range s.nodes[:i] {
			s.disconnect(n, m)
		}
	}
	for _, name := range names {
		a, b, _ := strings.Cut(name, "-")
		s.links = append(s.links, Link{s.node(a).Origin, s.node(b).Origin})
		s.connect(s.node(a), s.node(b))
	}
	s.layout(s.members)
	s.net = nil // greetings of empty nodes say nothing
}

// restart begins a process; its connections come back.
func (s *script) restart(n *scripted) {
	n.core = New(Config{Self: n.Member, View: n.store, Chunk: 2,
		Rand: rand.New(rand.NewPCG(uint64(n.Origin), 7))}, s.now)
	s.pulls = slices.DeleteFunc(s.pulls, func(p open) bool { return p.from == n })
	s.step(n, Wake{})
	s.step(n, s.laid())
	for _, name := range slices.Clone(n.up) {
		s.connect(n, s.node(string(name)))
	}
}

func (s *script) connect(n, m *scripted) {
	for _, pair := range [][2]*scripted{{n, m}, {m, n}} {
		if !slices.Contains(pair[0].up, pair[1].Node) {
			pair[0].up = append(pair[0].up, pair[1].Node)
		}
		s.step(pair[0], PeerUp{pair[1].Member})
	}
}

func (s *script) disconnect(n, m *scripted) {
	for _, pair := range [][2]*scripted{{n, m}, {m, n}} {
		pair[0].up = slices.DeleteFunc(pair[0].up, func(x atoll.NodeID) bool { return x == pair[1].Node })
		s.step(pair[0], PeerDown{pair[1].Node})
	}
	gone := func(a, b atoll.NodeID) bool {
		return a == n.Node && b == m.Node || a == m.Node && b == n.Node
	}
	s.net = slices.DeleteFunc(s.net, func(x sent) bool { return gone(x.from, x.to) })
	for _, p := range slices.Clone(s.pulls) {
		if gone(p.from.Node, p.To) {
			s.fail(p)
		}
	}
}

func (s *script) fail(p open) {
	s.pulls = slices.DeleteFunc(s.pulls, func(q open) bool {
		return q.from == p.from && q.Session == p.Session
	})
	s.say("the pull of %s from %s breaks", p.from.Node, p.To)
	s.step(p.from, PullFailed{p.Session})
}

// step feeds one input, makes its writes durable and tells what it led to.
func (s *script) step(n *scripted, in Input) {
	out := n.core.Step(s.now.Add(n.skew), in)
	n.store.Apply(out.Writes)
	n.wake = out.Wake.Add(-n.skew)
	for _, x := range out.Sends {
		s.net = append(s.net, sent{n.Node, x.To, x.Message})
		if _, ok := x.Message.(Delta); ok != x.Eager {
			s.say("%s sends %T, eager: %v", n.Node, x.Message, x.Eager)
		}
	}
	for _, p := range out.Pulls {
		s.say("%s%s pulls from %s what is not in %s", s.clock(), n.Node, p.To, spell(p.Pull.Clock))
		s.pulls = append(s.pulls, open{n, p})
	}
	for _, r := range out.Replies {
		what := fmt.Sprintf("done, durable in %v", r.Reached)
		if r.Reached == nil {
			what = "done"
		}
		if r.Err != nil {
			what = r.Err.Error()
		}
		s.say("%s%s answers %d: %s", s.clock(), n.Node, r.ID, what)
	}
	for _, c := range out.Changes {
		if c.Remote {
			body, _, _ := crdt.Render(&c.Doc)
			s.say("%s%s now has %s=%s%s", s.clock(), n.Node, c.Key, body, conflict(c))
		}
	}
	if out.Expelled {
		s.say("%s is forgotten itself", n.Node)
	}
	if out.Fenced != "" {
		s.say("%s is fenced", n.Node)
	}
}

func conflict(c Change) string {
	switch {
	case c.DeleteEdit:
		return " (delete-edit)"
	case c.Conflict:
		return " (conflict)"
	}
	return ""
}

func (s *script) clock() string {
	return fmt.Sprintf("%5dms ", s.now.Sub(s.start).Milliseconds())
}

func spell(c crdt.Clock) string {
	out := []string{}
	for _, r := range c.Runs() {
		out = append(out, fmt.Sprintf("%d:%d-%d", r.Origin, r.First, r.Last))
	}
	return "[" + strings.Join(out, " ") + "]"
}

func (s *script) duration(text string, without time.Duration) time.Duration {
	if text == "" {
		return without
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

func (s *script) change(f []string) {
	n, key := s.node(f[1]), atoll.Key(f[2])
	f = append(f, "", "", "")
	s.calls++
	in := Mutate{ID: s.calls, Keyspace: testSpace, Key: key}
	rest := f[4:]
	switch f[0] {
	case "delete":
		rest = f[3:]
		in.Edit = func(e *crdt.Edit) error { crdt.Delete(e); return nil }
	case "expire":
		rest = f[4:]
		at := s.now.Add(n.skew).Add(s.duration(f[3], 0))
		in.Edit = func(e *crdt.Edit) error {
			if e.Doc().Expired(e.Time().Wall()) {
				s.say("%s sees no %s any more", n.Node, key)
				return nil
			}
			e.SetDeadline(at)
			return nil
		}
	case "inc", "bound":
		by, err := strconv.ParseInt(f[3], 10, 64)
		if err != nil {
			s.t.Fatal(err)
		}
		op := crdt.Op{Kind: crdt.OpKind(f[0]), Path: counterPath, By: by, Min: by}
		in.Edit = func(e *crdt.Edit) error { return crdt.ApplyOps(e, []crdt.Op{op}) }
	default:
		tree, err := crdt.Parse([]byte(f[3]))
		if err != nil {
			s.t.Fatal(err)
		}
		in.Edit = func(e *crdt.Edit) error { return crdt.MergePatch(e, tree) }
	}
	level, err := atoll.ParseLevel(rest[0])
	if err != nil {
		s.t.Fatal(err)
	}
	in.Level, in.Deadline = level, s.now.Add(s.duration(rest[1], 5*time.Second))
	s.step(n, in)
}

func (s *script) await(n *scripted, what, timeout string) {
	s.calls++
	var clock crdt.Clock
	if strings.Contains(what, ":") {
		clock = s.runs(what)
	} else {
		clock = s.node(what).core.Clock(testAddress)
	}
	s.step(n, Await{ID: s.calls, Needs: []Need{{testAddress, clock}},
		Deadline: s.now.Add(s.duration(timeout, 5*time.Second))})
}

// runs reads a clock such as 1:1-5,2:3-3.
func (s *script) runs(text string) (c crdt.Clock) {
	for part := range strings.SplitSeq(text, ",") {
		var r crdt.Run
		if n, _ := fmt.Sscanf(part, "%d:%d-%d", &r.Origin, &r.First, &r.Last); n < 3 {
			s.t.Fatalf("%q is no clock", text)
		}
		c.AddRun(r)
	}
	return c
}

func (s *script) run1(text string) crdt.Run {
	c := s.runs(text)
	return c.Runs()[0]
}

// flow lets all messages through, and pulls be answered, until there are none.
func (s *script) flow() {
	for {
		if len(s.net) > 0 {
			x := s.net[0]
			s.net = s.net[1:]
			if !slices.Contains(s.liars, x.from) {
				s.tell(x)
				s.step(s.node(string(x.to)), Receive{From: x.from, Message: x.m})
			}
			continue
		}
		i := slices.IndexFunc(s.pulls, func(p open) bool { return !slices.Contains(s.liars, p.To) })
		if i < 0 {
			return
		}
		p := s.pulls[i]
		s.pulls = slices.Delete(s.pulls, i, i+1)
		_ = Answer(s.node(string(p.To)).store.Snapshot(), p.Pull, func(m Message) error {
			if b, ok := m.(Begin); ok && b.Full {
				s.say("%s%s answers with all that it has", s.clock(), p.To)
			} else if ok && b.Busy {
				s.say("%s%s is busy", s.clock(), p.To)
			}
			s.step(p.from, PullEvent{p.Session, m})
			return nil
		})
	}
}

// tell names the messages that carry something.
func (s *script) tell(x sent) {
	switch m := x.m.(type) {
	case Delta:
		s.say("%s%s -> %s %s of %s%s", s.clock(), x.from, x.to,
			spell(crdt.ClockOf(m.Delta.Dots)), m.Delta.Key, map[bool]string{true: ", to pass on"}[m.Relay])
	case Ack:
		s.say("%s%s -> %s has %s", s.clock(), x.from, x.to, spell(crdt.ClockOf(m.Run)))
	}
}

// pass lets time go by.
func (s *script) pass(text string) {
	end := s.now.Add(s.duration(text, 0))
	for {
		s.flow()
		next := slices.MinFunc(s.nodes, func(a, b *scripted) int { return a.wake.Compare(b.wake) })
		if next.wake.After(end) {
			s.now = end
			return
		}
		if next.wake.After(s.now) {
			s.now = next.wake
		}
		s.step(next, Wake{})
	}
}

func (s *script) show(n *scripted) {
	p := n.core.find(testAddress)
	text := fmt.Sprintf("%s %s", n.Node, spell(p.clock))
	if !p.cut.Empty() {
		text += " cut " + spell(p.cut)
	}
	start := prefix(kindDoc, testSpace, 0)
	for k, b := range n.store.Scan(start, after(start)) {
		d := decodeStored(b, true)
		body, _, visible := crdt.Render(&d)
		text += fmt.Sprintf(" %s=%s", k[len(start):], map[bool]string{true: string(body), false: "-"}[visible])
		if len(d.Ghosts) > 0 {
			text += fmt.Sprint(" ghosts ", len(d.Ghosts))
		}
	}
	if p.pull != nil {
		text += " pulling"
	}
	if p.stage != nil {
		text += fmt.Sprint(" stage ", p.stage.phase)
	}
	for _, g := range n.core.Farewells() {
		text += fmt.Sprintf(" %d %s", g.Origin, g.Phase)
		if len(g.Waiting) > 0 {
			text += fmt.Sprintf(" waits for %d", g.Waiting)
		}
	}
	for _, r := range n.core.Refusals() {
		text += fmt.Sprintf(" refused %s %s %d", r.Node, r.Reason, r.Count)
	}
	if n.core.Fenced() {
		text += " fenced"
	}
	s.say("%s", text)
}

// lie sends what an honest node would not: marks SEQ, clocks RUNS, delta RUNS
// KEY, and in the answer to the open pull of m: begin RUNS [full|busy],
// doc KEY RUNS ENTRIES, end.
func (s *script) lie(n, m *scripted, f []string) {
	f = append(f, "", "", "")
	receive := func(x Message) { s.step(m, Receive{From: n.Node, Message: x}) }
	switch f[0] {
	case "marks":
		seq, err := strconv.ParseUint(f[1], 10, 64)
		if err != nil {
			s.t.Fatal(err)
		}
		receive(Marks{m.Origin, []Mark{{testAddress, seq}}})
		return
	case "clocks":
		receive(Clocks{Keyspace: testSpace, Clocks: []PartitionClock{{0, s.runs(f[1])}}})
		return
	case "ack":
		receive(Ack{testAddress, s.run1(f[1])})
		return
	case "delta":
		receive(Delta{Address: testAddress,
			Delta: crdt.Delta{Key: atoll.Key(f[2]), Dots: s.run1(f[1])}})
		return
	}
	i := slices.IndexFunc(s.pulls, func(p open) bool { return p.from == m && p.To == n.Node })
	if i < 0 {
		s.say("%s does not pull from %s", m.Node, n.Node)
		return
	}
	var x Message = End{}
	switch f[0] {
	case "begin":
		b := Begin{Full: f[2] == "full", Busy: f[2] == "busy"}
		if f[1] != "nothing" {
			b.Clock = s.runs(f[1])
		}
		x = b
	case "doc":
		runs := s.runs(f[2])
		d := Doc{Key: atoll.Key(f[1]), Runs: runs.Runs()}
		if f[3] != "" {
			entries := s.runs(f[3])
			for _, r := range entries.Runs() {
				d.Doc.Entries = append(d.Doc.Entries, crdt.Entry{Path: counterPath, Kind: crdt.Register,
					Dot: crdt.Dot{Origin: r.Origin, Seq: r.First}, Value: []byte("666")})
			}
		}
		x = d
	}
	before := s.pulls[i].Session
	s.step(m, PullEvent{before, x})
	if _, left := m.core.session(before); left == nil {
		s.say("the pull of %s from %s is over", m.Node, n.Node)
		s.pulls = slices.DeleteFunc(s.pulls, func(p open) bool {
			return p.from == m && p.Session == before
		})
	}
}
