package membership

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/node/transport"
	"github.com/atolledge/atoll/replication/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait for a condition; a test that runs into it fails.
const patience = 30 * time.Second

func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// island is a node with a transport and a membership, nothing else.
type island struct {
	*Membership
	sea   *transport.Transport
	self  Member
	close func()

	mu     sync.Mutex
	events []string
}

func (i *island) heard(event string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Contains(i.events, event)
}

func (i *island) sees() string {
	var names []string
	for _, m := range i.Members() {
		names = append(names, string(m.Node))
	}
	return strings.Join(names, " ")
}

// atlas makes islands of one cluster.
type atlas struct {
	t  *testing.T
	ca *transport.CA
}

func newAtlas(t *testing.T) *atlas {
	t.Helper()
	ca, err := transport.NewCA("stars", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &atlas{t, ca}
}

// start runs a node at addr; port 0 picks one.
func (a *atlas) start(node atoll.NodeID, incarnation uint64, addr string) *island {
	a.t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	conn, err := net.ListenPacket("udp4", addr)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := a.ca.Issue(transport.Spec{Node: node}, time.Now())
	if err != nil {
		a.t.Fatal(err)
	}
	i := &island{self: Member{
		Node: node, Region: node.Region(), Incarnation: incarnation,
		Origin: atoll.Origin(len(node)) + 1000*atoll.Origin(incarnation),
		Addr:   conn.LocalAddr().String(),
	}}
	i.sea, err = transport.New(transport.Config{
		Conn: conn, Certificate: cert, CAs: a.ca.Pool(),
		Hello: wire.Hello{
			Cluster: a.ca.ID(), Node: node, Region: node.Region(), Origin: i.self.Origin,
			Incarnation: incarnation, WireMin: wire.MinVersion, WireMax: wire.MaxVersion,
		},
		Logger: quiet, Rand: rand.New(rand.NewPCG(1, incarnation)),
	})
	if err != nil {
		a.t.Fatal(err)
	}
	go func() { _ = i.sea.Run(context.Background()) }()
	i.Membership, err = New(Config{
		Transport: i.sea, Self: i.self, Logger: quiet, Rand: rand.New(rand.NewPCG(2, incarnation)),
		Changed: func(e Event) {
			i.mu.Lock()
			defer i.mu.Unlock()
			i.events = append(i.events,
				fmt.Sprintf("%s %s %d", e.Kind, e.Member.Node, e.Member.Incarnation))
		},
	})
	if err != nil {
		a.t.Fatal(err)
	}
	i.close = sync.OnceFunc(func() { i.Membership.Close(); i.sea.Close() })
	a.t.Cleanup(i.close)
	return i
}

// join tries until it works, as a node does: when both ends dial at once, the
// one that gives way has an error in the meantime.
func (i *island) join(t *testing.T, seed *island) {
	t.Helper()
	until(t, string(i.self.Node)+" joins", func() bool {
		return i.Join(context.Background(), []string{seed.self.Addr}) == nil
	})
}

func TestEightNodesFindEachOtherAndNoticeADeath(t *testing.T) {
	a := newAtlas(t)
	var all []*island
	for n := range 8 {
		node := atoll.NodeID(fmt.Sprintf("%s/%d", []string{"tokyo", "frankfurt"}[n%2], n/2+1))
		all = append(all, a.start(node, 1, "127.0.0.1:0"))
	}
	var joins sync.WaitGroup
	for _, i := range all[1:] {
		joins.Go(func() { i.join(t, all[0]) })
	}
	joins.Wait()
	want := "frankfurt/1 frankfurt/2 frankfurt/3 frankfurt/4 tokyo/1 tokyo/2 tokyo/3 tokyo/4"
	for _, i := range all {
		until(t, string(i.self.Node)+" sees all", func() bool { return i.sees() == want })
		if !slices.Contains(i.Members(), all[3].self) {
			t.Errorf("%s sees %+v, want in it %+v", i.self.Node, i.Members(), all[3].self)
		}
	}
	dead := all[7]
	dead.sea.Kill()
	for _, i := range all[:7] {
		until(t, string(i.self.Node)+" misses frankfurt/4", func() bool {
			return i.heard("down frankfurt/4 1")
		})
		if strings.Contains(i.sees(), "frankfurt/4") {
			t.Errorf("%s sees %s", i.self.Node, i.sees())
		}
	}
}

func TestLeaveIsKnownAtOnceAndTheNodeComesBack(t *testing.T) {
	a := newAtlas(t)
	one, two := a.start("tokyo/1", 1, "127.0.0.1:0"), a.start("tokyo/2", 1, "127.0.0.1:0")
	two.join(t, one)
	until(t, "both up", func() bool { return one.heard("up tokyo/2 1") && two.heard("up tokyo/1 1") })
	if err := two.Leave(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	until(t, "down", func() bool { return one.heard("down tokyo/2 1") })
	two.close()
	again := a.start("tokyo/2", 2, two.self.Addr)
	again.join(t, one)
	until(t, "up again", func() bool { return one.heard("up tokyo/2 2") })
	if again.self.Origin == two.self.Origin || !slices.Contains(one.Members(), again.self) {
		t.Errorf("members %+v, want in it %+v", one.Members(), again.self)
	}
}

func TestAKilledNodeThatReturnsAtOnceIsUpdated(t *testing.T) {
	a := newAtlas(t)
	one, two := a.start("tokyo/1", 1, "127.0.0.1:0"), a.start("tokyo/2", 1, "127.0.0.1:0")
	two.join(t, one)
	until(t, "up", func() bool { return one.heard("up tokyo/2 1") })
	two.sea.Kill()
	two.close()
	again := a.start("tokyo/2", 2, two.self.Addr)
	again.join(t, one)
	until(t, "its new incarnation is known", func() bool {
		return one.heard("update tokyo/2 2") || one.heard("up tokyo/2 2")
	})
}

func TestJoinWithoutAnybodyThereSaysSo(t *testing.T) {
	one := newAtlas(t).start("tokyo/1", 1, "127.0.0.1:0")
	err := one.Join(context.Background(), []string{"not an address", "127.0.0.1:1"})
	if atoll.KindOf(err) != atoll.BadRequest {
		t.Errorf("Join: %v", err)
	}
	if err := one.Join(context.Background(), nil); err != nil {
		t.Errorf("Join of nobody: %v", err)
	}
	if got := one.sees(); got != "tokyo/1" {
		t.Errorf("sees %q", got)
	}
}

func TestNewRefusesAnAddressThatNobodyReaches(t *testing.T) {
	for _, addr := range []string{"", "0.0.0.0:7950", "[::]:7950", "tokyo:7950", "127.0.0.1"} {
		_, err := New(Config{Self: Member{Node: "tokyo/1", Region: "tokyo", Addr: addr}})
		if atoll.KindOf(err) != atoll.BadRequest {
			t.Errorf("%q: %v", addr, err)
		}
	}
}

func TestOnlyOneMembershipOnATransport(t *testing.T) {
	one := newAtlas(t).start("tokyo/1", 1, "127.0.0.1:0")
	if _, err := New(one.cfg); atoll.KindOf(err) != atoll.Internal {
		t.Errorf("a second one: %v", err)
	}
}
