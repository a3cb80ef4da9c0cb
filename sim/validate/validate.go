package validate

import (
	"context"
	"sync"
)

// Run carries studies out, so many at a time, with factor times their trials,
// and hands the rows of each to add, in order of studies. A row whose figure
// could not be measured says why in Ours.
func Run(ctx context.Context, studies []*Study, factor, jobs int, add func([]Row)) error {
	rows := make([]chan []Row, len(studies))
	for i := range rows {
		rows[i] = make(chan []Row, 1)
	}
	next := make(chan int)
	var workers sync.WaitGroup
	for range max(jobs, 1) {
		workers.Go(func() {
			for i := range next {
				rows[i] <- studies[i].rows(ctx, factor)
			}
		})
	}
	go func() {
		for i := range studies {
			next <- i
		}
		close(next)
	}()
	for i := range rows {
		add(<-rows[i])
	}
	workers.Wait()
	return ctx.Err()
}

// rows measures the figures of a study; it has passed Parse.
func (s *Study) rows(ctx context.Context, factor int) []Row {
	var figures []string
	for _, f := range s.Rows {
		figures = append(figures, f.Figure)
	}
	m, err := s.model(factor)
	var ours []value
	if err == nil && ctx.Err() == nil {
		ours, err = m.measure(ctx, figures)
	}
	rows := make([]Row, len(s.Rows))
	for i, f := range s.Rows {
		rows[i] = Row{Study: s.Name, Source: s.Source, Where: f.Where, Figure: f.Figure,
			Paper: f.Paper, Tolerance: f.Tolerance, Ours: "not measured"}
		goal, wrong := newGoal(f)
		switch {
		case err != nil:
			rows[i].Ours = err.Error()
		case wrong == nil && ours != nil:
			ours[i].unit = goal.paper.unit
			rows[i].Ours, rows[i].OK = ours[i].String(), goal.meets(ours[i])
		}
	}
	return rows
}
