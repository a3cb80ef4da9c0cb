// Command kill9 kills a node under load with SIGKILL, again and again, and looks
// after each restart for every write that the node had acknowledged.
//
//	kill9 -atoll bin/atoll -data DIR [-rounds 20] [-clients 32] [-seed N]
//
// It prints a line for each round and the totals. It exits with 1 when a write
// is lost or the node does not come back.
package main

import (
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
	seed            uint64
}

func main() {
	var o options
	flag.StringVar(&o.atoll, "atoll", "bin/atoll", "the binary")
	flag.StringVar(&o.data, "data", "data", "an empty folder for the node")
	flag.IntVar(&o.rounds, "rounds", 20, "how often to kill it")
	flag.IntVar(&o.clients, "clients", 32, "writers at the same time")
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
	l := newLedger(o.clients)
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
			fmt.Printf("ok rounds=%d clients=%d acknowledged=%d lost=0 slowest_restart_ms=%d seed=%d\n",
				round, o.clients, l.acknowledged(), slowest.Milliseconds(), o.seed)
			return n.stop()
		}
		life := 200*time.Millisecond + time.Duration(rng.Int64N(int64(time.Second)))
		acked := l.load(n.url, func() {
			time.Sleep(life) // the moment of death is the test's to choose
			n.kill()
		})
		if acked == 0 {
			return fmt.Errorf("round %d: no write was acknowledged in %s", round, life)
		}
		fmt.Printf("round %2d: back in %4d ms, %6d documents; %5d writes acknowledged in %4d ms\n",
			round, back.Milliseconds(), found, acked, life.Milliseconds())
	}
}
