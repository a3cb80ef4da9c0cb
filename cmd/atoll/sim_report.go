package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// tell prints a run: its story, then one line that begins with the verdict.
// The error says that a property did not hold.
func tell(std *stdio, r ran, asJSON bool) error {
	if asJSON {
		if err := json.NewEncoder(std.out).Encode(r.report()); err != nil {
			return err
		}
		return r.verdict()
	}
	p := r.Plan
	std.printf("%s, seed %d: %d nodes in %d regions (%s), %d clients\n", p.Scenario, p.Seed,
		len(p.Nodes), len(p.Regions), strings.Join(p.Regions, ", "), len(p.Workload.Clients))
	for _, m := range r.Moments {
		std.printf("%10s  %s\n", seconds(m.At), m.Text)
	}
	std.printf("%d messages arrived, %d pulls, %d of them full; %d of %d writes acknowledged\n",
		r.Messages, r.Pulls, r.FullPulls, r.Acked, r.Writes)
	if t := r.Traffic; t != nil {
		std.printf("%d copies of changes crossed a link, %s for each replica; %d bytes: %d of changes, "+
			"%d around them, %d of pulls, %d of notices\n", t.Copies(), r.perReplica(), t.Bytes(),
			t.ChangeBytes, t.DeltaBytes-t.ChangeBytes, t.PullBytes, t.NoticeBytes)
	}
	std.printf("%s\n", r.line())
	return r.verdict()
}

// perReplica returns how many copies of a write each other replica got.
func (r ran) perReplica() string {
	wanted := r.Writes * (len(r.Plan.Nodes) - 1)
	return fmt.Sprintf("%.3f", float64(r.Traffic.Copies())/float64(max(wanted, 1)))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3fs", d.Seconds()) }

// line is the summary that scripts read.
func (r ran) line() string {
	word, converged := "ok", r.ConvergedIn.String()
	if !r.OK {
		word = "FAIL"
	}
	return fmt.Sprintf("%s seed=%d trace=%s nodes=%d events=%d virtual=%s real=%s writes=%d "+
		"converged_in=%s", word, r.Plan.Seed, r.Trace, len(r.Plan.Nodes), r.Events,
		seconds(r.Virtual), seconds(r.real), r.Writes, converged)
}

func (r ran) verdict() error {
	if r.OK {
		return nil
	}
	return fmt.Errorf("%s, seed %d: %d properties did not hold, first %s", r.Plan.Scenario,
		r.Plan.Seed, len(r.Violations), r.Violations[0])
}

// runReport is a run as JSON.
type runReport struct {
	Scenario      string            `json:"scenario"`
	Seed          uint64            `json:"seed"`
	OK            bool              `json:"ok"`
	Trace         string            `json:"trace"`
	Nodes         int               `json:"nodes"`
	Events        uint64            `json:"events"`
	VirtualMS     float64           `json:"virtual_ms"`
	RealMS        float64           `json:"real_ms"`
	ConvergedInMS float64           `json:"converged_in_ms"`
	Writes        int               `json:"writes"`
	Acked         int               `json:"acked"`
	Lost          int               `json:"lost"`
	Messages      uint64            `json:"messages"`
	Pulls         uint64            `json:"pulls"`
	FullPulls     uint64            `json:"full_pulls"`
	Traffic       *trafficReport    `json:"traffic,omitempty"`
	Violations    []violationReport `json:"violations"`
}

type trafficReport struct {
	Copies      uint64 `json:"copies"`
	Bytes       uint64 `json:"bytes"`
	ChangeBytes uint64 `json:"change_bytes"`
	PullBytes   uint64 `json:"pull_bytes"`
	NoticeBytes uint64 `json:"notice_bytes"`
}

type violationReport struct {
	Property string  `json:"property"`
	AtMS     float64 `json:"at_ms"`
	Node     string  `json:"node,omitempty"`
	Key      string  `json:"key,omitempty"`
	Detail   string  `json:"detail"`
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (r ran) report() runReport {
	out := runReport{
		Scenario: r.Plan.Scenario, Seed: r.Plan.Seed, OK: r.OK, Trace: r.Trace,
		Nodes: len(r.Plan.Nodes), Events: r.Events, VirtualMS: millis(r.Virtual),
		RealMS: millis(r.real), ConvergedInMS: millis(r.ConvergedIn), Writes: r.Writes,
		Acked: r.Acked, Lost: r.Lost, Messages: r.Messages, Pulls: r.Pulls,
		FullPulls: r.FullPulls, Violations: []violationReport{},
	}
	if t := r.Traffic; t != nil {
		out.Traffic = &trafficReport{Copies: t.Copies(), Bytes: t.Bytes(),
			ChangeBytes: t.ChangeBytes, PullBytes: t.PullBytes, NoticeBytes: t.NoticeBytes}
	}
	for _, v := range r.Violations {
		out.Violations = append(out.Violations, violationReport{
			Property: string(v.Property), AtMS: millis(v.At), Node: string(v.Node),
			Key: string(v.Key), Detail: v.Detail,
		})
	}
	return out
}

// writeRun writes what is worth keeping of a run: the numbers, the events and
// the run itself, for sim replay. Only the numbers tell how long it took here.
func writeRun(dir string, r ran) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	manifest, err := json.MarshalIndent(struct {
		Atoll string `json:"atoll"`
		runReport
	}{readVersion().Version, r.report()}, "", "  ")
	if err != nil {
		return err
	}
	var events bytes.Buffer
	enc := json.NewEncoder(&events)
	for _, m := range r.Moments {
		if err := enc.Encode(struct {
			AtMS float64 `json:"at_ms"`
			Kind string  `json:"kind"`
			Node string  `json:"node,omitempty"`
			Text string  `json:"text"`
		}{millis(m.At), m.Kind, string(m.Node), m.Text}); err != nil {
			return err
		}
	}
	for name, text := range map[string][]byte{
		"manifest.json": append(manifest, '\n'),
		"events.ndjson": events.Bytes(),
		"repro.json":    r.Repro(readVersion().Version).JSON(),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
