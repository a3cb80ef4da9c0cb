package sim

import (
	"context"
	"sync"
)

// Swarm runs the seeds from first to last (both included) in jobs goroutines
// and hands each result to done in order of seeds, whatever jobs is. It stops
// early when ctx ends; the results that are then handed over have no gap.
// plan makes the plan of a seed.
func Swarm(ctx context.Context, first, last uint64, jobs int, plan func(uint64) *Plan,
	done func(*Result)) {
	// ahead bounds the runs that are under way or wait for a slower one before them.
	ahead := make(chan chan *Result, 4*jobs)
	var wg sync.WaitGroup
	work := make(chan func())
	for range jobs {
		wg.Go(func() {
			for f := range work {
				f()
			}
		})
	}
	go func() {
		defer close(ahead)
		defer close(work)
		for seed := first; seed <= last && ctx.Err() == nil; seed++ {
			result := make(chan *Result, 1)
			ahead <- result
			work <- func() { result <- Run(plan(seed), nil) }
			if seed == last {
				return // it may be the greatest there is
			}
		}
	}()
	for result := range ahead {
		done(<-result)
	}
	wg.Wait()
}
