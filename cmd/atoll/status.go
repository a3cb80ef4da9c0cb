package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"text/tabwriter"
)

type statusCmd struct{ remote }

// clusterView is GET /v1/cluster.
type clusterView struct {
	Cluster string
	Self    struct{ Node, Region string }
	Regions []regionView

	Forgetting []struct {
		Node, Origin, Phase string
		Waiting             []string
		Done                bool
	}
	CatchingUp struct {
		Partitions, Sources int
		Documents, Bytes    uint64
	} `json:"catching_up"`
	Refused []struct {
		Node, Reason string
		Count        uint64
	}
	Scrub struct{ Partitions, Differences uint64 }
}

type regionView struct {
	Name     string
	Lat, Lon float64
	State    string
	Votes    []voteView
	Nodes    []nodeView
}

type voteView struct {
	Voter string
	Up    bool
	AgeMS float64 `json:"age_ms"`
}

type nodeView struct {
	ID, Addr, State string
	RTTMS           float64 `json:"rtt_ms"`
	Behind          struct {
		Dots uint64
		MS   float64 `json:"ms"`
	}
}

// Run prints what the asked node knows of the cluster.
func (c *statusCmd) Run(ctx context.Context, std *stdio) error {
	var view clusterView
	body, err := c.decode(ctx, call{method: http.MethodGet, path: "/v1/cluster"}, &view)
	if err != nil {
		return err
	}
	if c.JSON {
		std.printf("%s\n", body)
		return nil
	}
	return view.print(std.out)
}

func (v *clusterView) print(w io.Writer) error {
	fmt.Fprintf(w, "cluster %s, as %s sees it\n\n", v.Cluster, v.Self.Node)
	if n := v.Scrub.Differences; n > 0 {
		fmt.Fprintf(w, "scrubbing found %d differences between replicas; its log names them: please report\n\n", n)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "REGION\tPLACE\tSTATE\tVOTES")
	for _, r := range v.Regions {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", r.Name, place(r.Lat, r.Lon), r.State, r.votes())
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(table, "\nNODE\tADDRESS\tSTATE\tRTT\tBEHIND")
	for _, r := range v.Regions {
		for _, n := range r.Nodes {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", n.ID, n.Addr, n.State, n.rtt(v.Self.Node), n.behind())
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	v.printLife(w)
	return nil
}

// printLife tells what is not everyday.
func (v *clusterView) printLife(w io.Writer) {
	if c := v.CatchingUp; c.Partitions > 0 {
		fmt.Fprintf(w, "\n%s is catching up from %d node(s): %d partitions left; "+
			"%d documents, %d bytes so far\n", v.Self.Node, c.Sources, c.Partitions, c.Documents, c.Bytes)
	}
	for _, f := range v.Forgetting {
		switch {
		case f.Done:
			continue
		case len(f.Waiting) == 0:
			fmt.Fprintf(w, "\n%s (%s) is being forgotten: %s\n", f.Node, f.Origin, f.Phase)
		default:
			fmt.Fprintf(w, "\n%s (%s) is being forgotten: %s; waiting for %s\n", f.Node, f.Origin,
				f.Phase, strings.Join(f.Waiting, ", "))
		}
	}
	for _, r := range v.Refused {
		fmt.Fprintf(w, "\n%s said what cannot be, %d times: %s\n", r.Node, r.Count, r.Reason)
	}
}

// place writes coordinates as 38.9N 77.0W.
func place(lat, lon float64) string {
	ns, ew := 'N', 'E'
	if lat < 0 {
		ns = 'S'
	}
	if lon < 0 {
		ew = 'W'
	}
	return fmt.Sprintf("%.1f%c %.1f%c", math.Abs(lat), ns, math.Abs(lon), ew)
}

// votes writes who says what: "frankfurt up, tokyo down"; the own region has none.
func (r *regionView) votes() string {
	if len(r.Votes) == 0 {
		return "-"
	}
	var parts []string
	for _, v := range r.Votes {
		word := "down"
		if v.Up {
			word = "up"
		}
		parts = append(parts, v.Voter+" "+word)
	}
	return strings.Join(parts, ", ")
}

func (n *nodeView) rtt(self string) string {
	switch {
	case n.ID == self:
		return "self"
	case n.RTTMS == 0:
		return "-"
	}
	return fmt.Sprintf("%.0f ms", n.RTTMS)
}

// behind says how much of what the asked node knows this one has not reported.
func (n *nodeView) behind() string {
	if n.Behind.Dots == 0 {
		return "-"
	}
	return fmt.Sprintf("%d dots, %.1f s", n.Behind.Dots, n.Behind.MS/1000)
}
