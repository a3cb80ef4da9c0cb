// Command soak runs six real nodes, three regions of two, behind a network that
// misbehaves, and clients that write down every answer. For the given time it
// cuts, slows, kills with SIGKILL, stops with SIGSTOP and wipes; then it heals
// everything and compares what the nodes hold with what they have promised.
//
//	soak -atoll bin/atoll -data DIR [-time 60s] [-seed N] [-clients 12]
//
// What must hold at the end, and on the way:
//
//   - All six exports are equal, byte for byte.
//   - Each write that was acknowledged is there, each delete that was is gone:
//     those of "regions:2" whatever happened, those of the default level unless
//     the directory of the node that took it was wiped since.
//   - With a session token, no client ever reads what is older than what it wrote
//     or has read, in any region, but for writes that were not answered: those may
//     be made late, by a node that was stopped.
//
// It prints what it does, and the totals in the last line, which begins with ok
// or FAIL. Exit 0 or 1.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"time"
)

// Times of the end.
const (
	startLimit  = 60 * time.Second  // for all nodes to be ready
	settleLimit = 120 * time.Second // for all to hold the same after the heal
)

// options are the flags.
type options struct {
	atoll, data string
	time        time.Duration
	clients     int
	seed        uint64
}

func main() {
	var o options
	flag.StringVar(&o.atoll, "atoll", "bin/atoll", "the binary")
	flag.StringVar(&o.data, "data", "data", "an empty folder for the nodes")
	flag.DurationVar(&o.time, "time", time.Minute, "how long faults and clients go on")
	flag.IntVar(&o.clients, "clients", 12, "clients at the same time")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of faults and clients")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Printf("FAIL seed=%d: %v\n", o.seed, err)
		os.Exit(1)
	}
}

// run does it all.
func run(o options) (err error) {
	c, err := newCluster(o.atoll, o.data, o.seed)
	if err != nil {
		return err
	}
	defer c.end()
	if err := c.startAll(); err != nil {
		return err
	}
	crowd := newCrowd(c, o.clients, o.seed)
	crowd.begin()
	faults := &faults{c: c, rng: rand.New(rand.NewPCG(o.seed, 1)), done: map[string]int{}}
	err = faults.run(o.time, crowd.failed)
	crowd.end()
	if err == nil {
		err = crowd.broken()
	}
	if err != nil {
		return err
	}
	healed := time.Now()
	if err := c.heal(); err != nil {
		return err
	}
	docs, err := c.agree()
	if err != nil {
		return err
	}
	settled := time.Since(healed)
	if err := crowd.verify(docs); err != nil {
		return err
	}
	t := crowd.totals()
	if least := 20 * o.clients; t.acked < least || t.safe == 0 || t.reads == 0 {
		return fmt.Errorf("too little was done to prove anything: %+v", t)
	}
	fmt.Printf("ok seed=%d time=%s faults=%s acknowledged=%d regions2=%d deletes=%d session_reads=%d "+
		"behind=%d unanswered=%d excused=%d documents=%d settled_ms=%d\n",
		o.seed, o.time, faults, t.acked, t.safe, t.deletes, t.reads, t.behind, t.unanswered,
		t.excused, len(docs), settled.Milliseconds())
	return nil
}
