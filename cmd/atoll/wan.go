package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/atolledge/atoll"
)

type wanCmd struct {
	Show wanShowCmd `cmd:"" default:"withargs" help:"Show the links (default)."`
	Cut  wanCutCmd  `cmd:"" help:"Cut the link between two regions."`
	Heal wanHealCmd `cmd:"" help:"Mend all links and give them their own distance back."`
	Slow wanSlowCmd `cmd:"" help:"Give a link another round trip time."`
}

type wanShowCmd struct{ remote }

// link is one direction between two regions.
type link struct {
	From     string  `json:"from"`
	To       string  `json:"to"`
	RTTMS    float64 `json:"rtt_ms"`
	JitterMS float64 `json:"jitter_ms"`
	Loss     float64 `json:"loss"` // 0..1
	Cut      bool    `json:"cut"`
	Packets  packets `json:"packets"`
}

// packets counts since the world began. Those on their way are in Sent only.
type packets struct {
	Sent      uint64 `json:"sent"`
	Delivered uint64 `json:"delivered"`
	Dropped   uint64 `json:"dropped"`
}

// Run prints the links of the dev world.
func (c *wanShowCmd) Run(ctx context.Context, std *stdio) error {
	var wan struct{ Links []link }
	body, err := c.decode(ctx, call{method: http.MethodGet, path: "/v1/dev/wan"}, &wan)
	if err != nil {
		return devOnly(err)
	}
	if c.JSON {
		std.printf("%s\n", body)
		return nil
	}
	table := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "FROM\tTO\tLINK\tRTT\tJITTER\tLOSS\tSENT\tDELIVERED\tDROPPED")
	for _, l := range wan.Links {
		state := "open"
		if l.Cut {
			state = "CUT"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%g ms\t%g ms\t%g %%\t%d\t%d\t%d\n", l.From, l.To, state,
			l.RTTMS, l.JitterMS, 100*l.Loss, l.Packets.Sent, l.Packets.Delivered, l.Packets.Dropped)
	}
	return table.Flush()
}

type wanCutCmd struct {
	remote
	A      string `arg:"" help:"Region."`
	B      string `arg:"" help:"Region."`
	OneWay bool   `help:"Only what A sends to B is lost."`
}

// Run cuts a link.
func (c *wanCutCmd) Run(ctx context.Context, std *stdio) error {
	if c.A == c.B {
		return misuse("%s has no link to itself", c.A)
	}
	ask := map[string]any{"a": c.A, "b": c.B, "one_way": c.OneWay}
	if err := c.post(ctx, "/v1/dev/wan/cut", ask); err != nil {
		return devOnly(err)
	}
	sign := "-"
	if c.OneWay {
		sign = " -> "
	}
	return c.say(std, ask, "cut "+c.A+sign+c.B)
}

type wanHealCmd struct{ remote }

// Run mends all links.
func (c *wanHealCmd) Run(ctx context.Context, std *stdio) error {
	if err := c.post(ctx, "/v1/dev/wan/heal", struct{}{}); err != nil {
		return devOnly(err)
	}
	return c.say(std, struct{}{}, "healed all links")
}

type wanSlowCmd struct {
	remote
	A   string        `arg:"" help:"Region."`
	B   string        `arg:"" help:"Region."`
	RTT time.Duration `arg:"" help:"Round trip time, such as 300ms."`
}

// Run gives a link another distance.
func (c *wanSlowCmd) Run(ctx context.Context, std *stdio) error {
	if c.A == c.B {
		return misuse("%s has no link to itself", c.A)
	}
	if c.RTT < 0 {
		return misuse("%s: a round trip takes no negative time", c.RTT)
	}
	ask := map[string]any{
		"a": c.A, "b": c.B, "rtt_ms": float64(c.RTT) / float64(time.Millisecond),
	}
	if err := c.post(ctx, "/v1/dev/wan/slow", ask); err != nil {
		return devOnly(err)
	}
	return c.say(std, ask, fmt.Sprintf("%s-%s now takes %s", c.A, c.B, c.RTT))
}

// say prints what a command did, as JSON if that was asked for.
func (r *remote) say(std *stdio, v any, words string) error {
	if r.JSON {
		return json.NewEncoder(std.out).Encode(v)
	}
	std.printf("%s\n", words)
	return nil
}

// devOnly adds to "not found" that only a dev world has such calls.
func devOnly(err error) error {
	e, ok := errors.AsType[*atoll.Error](err)
	if ok && e.Kind == atoll.NotFound && e.Hint == "" {
		e.Hint = "only a world of atoll dev has links and nodes to play with"
	}
	return err
}
