// Command kill9 kills a node under load with SIGKILL, again and again, and looks
// after each restart for every write that the node had acknowledged.
//
//	kill9 -atoll bin/atoll -data DIR [-rounds 20] [-clients 32] [-media] [-seed N]
//
// The writes are of documents, or with -media of objects of 3 to 40 MiB. It prints
// a line for each round and the totals. It exits with 1 when a write is lost, an
// object is there in part, chunks stay that no object names, or the node does not
// come back.
package main

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"time"
)

// options are the flags.
type options struct {
	atoll, data     string
	rounds, clients int
	media           bool
	seed            uint64
}

// workload is what the clients write, and what they know of it.
type workload interface {
	// load writes from all clients until the node is gone, which end brings
	// about, and returns how many writes were acknowledged.
	load(url string, end func()) int

	// verify compares what the node has with what it acknowledged, and returns
	// how much it has.
	verify(url string) (int, error)

	// tested is an error if so many rounds have shown less than they should.
	tested(rounds int) error

	// String is what has been shown.
	String() string
}

func main() {
	var o options
	flag.StringVar(&o.atoll, "atoll", "bin/atoll", "the binary")
	flag.StringVar(&o.data, "data", "data", "an empty folder for the node")
	flag.IntVar(&o.rounds, "rounds", 20, "how often to kill it")
	flag.IntVar(&o.clients, "clients", 32, "writers at the same time")
	flag.BoolVar(&o.media, "media", false, "write objects")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of the moments of death")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "kill9:", err)
		os.Exit(1)
	}
}

// run does all rounds. The last restart is followed by a clean end.
func run(o options) error {
	rng := rand.New(rand.NewPCG(o.seed, 0))
	n, err := newNode(o.atoll, o.data)
	if err != nil {
		return err
	}
	var l workload = newLedger(o.clients)
	most := time.Second // a node lives before it is killed, and a little
	if o.media {
		l, most = newObjects(o.clients, o.seed), 4*time.Second
	}
	var slowest time.Duration
	for round := 0; ; round++ {
		back, err := n.start()
		if err != nil {
			return err
		}
		slowest = max(slowest, back)
		found, err := l.verify(n.url)
		if err != nil {
			n.kill()
			return fmt.Errorf("round %d, seed %d: %w", round, o.seed, err)
		}
		if round == o.rounds {
			if err := errors.Join(n.stop(), l.tested(round)); err != nil {
				return fmt.Errorf("seed %d: %w", o.seed, err)
			}
			fmt.Printf("ok rounds=%d clients=%d %s lost=0 slowest_restart_ms=%d seed=%d\n",
				round, o.clients, l, slowest.Milliseconds(), o.seed)
			return nil
		}
		life := 200*time.Millisecond + time.Duration(rng.Int64N(int64(most)))
		acked := l.load(n.url, func() {
			time.Sleep(life) // the moment of death is the test's to choose
			n.kill()
		})
		fmt.Printf("round %2d: back in %4d ms, %6d there; %5d writes acknowledged in %4d ms\n",
			round, back.Milliseconds(), found, acked, life.Milliseconds())
	}
}
