package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/atolledge/atoll/geodns"
	"github.com/atolledge/atoll/geodns/steer"
)

type explainCmd struct {
	remote
	Name string `arg:"" help:"The name asked for: www.atoll.test."`
	IP   string `name:"ip" placeholder:"ADDRESS" help:"As for this client; without it, as for you."`
}

// Run prints why: the answer, the place of the client, and each region with the
// reason why it was or was not chosen.
func (c *explainCmd) Run(ctx context.Context, std *stdio) error {
	query := url.Values{"name": {c.Name}}
	if c.IP != "" {
		query.Set("ip", c.IP)
	}
	var why geodns.Explanation
	body, err := c.decode(ctx, call{
		method: http.MethodGet, path: "/v1/explain/dns", query: query,
	}, &why)
	if err != nil {
		return err
	}
	if c.JSON {
		std.printf("%s\n", body)
		return nil
	}
	return printExplanation(std.out, &why)
}

func printExplanation(w io.Writer, e *geodns.Explanation) error {
	answer := cmp.Or(strings.Join(e.Answer, ", "), "no address")
	fmt.Fprintf(w, "%s leads %s to %s, for %d s\n", e.Name, e.Client, answer, e.TTL)
	where := "its place is not known: it counts as being where this answer comes from"
	if e.Place != nil {
		where = "taken to be at " + place(e.Place.Lat, e.Place.Lon)
		if e.Place.Country != "" {
			where += ", " + e.Place.Country
		}
	}
	fmt.Fprintf(w, "%s; all of %s gets this answer\n\n", where, e.Range)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "REGION\tDISTANCE\tSTATE\tVOTES\tWHY")
	for _, r := range e.List {
		fmt.Fprintf(table, "%s\t%.0f km\t%s\t%s\t%s\n", r.Region, r.KM, r.State, ballot(r.Votes), r.Why)
	}
	return table.Flush()
}

// ballot writes who says what, as status does.
func ballot(votes []steer.Vote) string {
	r := regionView{Votes: make([]voteView, len(votes))}
	for i, v := range votes {
		r.Votes[i] = voteView{Voter: string(v.Voter), Up: v.Up}
	}
	return r.votes()
}
