package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/atolledge/atoll"
)

type nodeCmd struct {
	List   nodeListCmd   `cmd:"" default:"withargs" help:"List the nodes (default)."`
	Kill   nodeKillCmd   `cmd:"" help:"Kill a node, or all of a region, at once."`
	Leave  nodeLeaveCmd  `cmd:"" help:"Take the asked node out of the cluster; it stops."`
	Forget nodeForgetCmd `cmd:"" help:"Take a node that is gone out of the cluster for good."`
	Start  nodeStartCmd  `cmd:"" help:"Start a killed node, or all of a region, from disk."`
}

type nodeListCmd struct{ remote }

// devNode is a node of the dev world.
type devNode struct {
	ID     string `json:"id"`
	Region string `json:"region"`
	State  string `json:"state"` // running or killed
	HTTP   string `json:"http"`
}

func (r *remote) devNodes(ctx context.Context) ([]devNode, []byte, error) {
	var all struct{ Nodes []devNode }
	body, err := r.decode(ctx, call{method: http.MethodGet, path: "/v1/dev/nodes"}, &all)
	return all.Nodes, body, devOnly(err)
}

// Run prints the nodes of the dev world.
func (c *nodeListCmd) Run(ctx context.Context, std *stdio) error {
	nodes, body, err := c.devNodes(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		std.printf("%s\n", body)
		return nil
	}
	table := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NODE\tSTATE\tHTTP")
	for _, n := range nodes {
		fmt.Fprintf(table, "%s\t%s\t%s\n", n.ID, n.State, n.HTTP)
	}
	return table.Flush()
}

type nodeKillCmd struct {
	remote
	Node string `arg:"" name:"region[/n]" help:"Region, or one node of it: tokyo/1."`
}

// Run kills nodes.
func (c *nodeKillCmd) Run(ctx context.Context, std *stdio) error {
	return c.each(ctx, std, c.Node, "kill", "killed")
}

type nodeStartCmd struct {
	remote
	Node string `arg:"" name:"region[/n]" help:"Region, or one node of it: tokyo/1."`
}

// Run starts nodes.
func (c *nodeStartCmd) Run(ctx context.Context, std *stdio) error {
	return c.each(ctx, std, c.Node, "start", "started")
}

// each sends a call for the node, or for every node of the region, that name
// means.
func (r *remote) each(ctx context.Context, std *stdio, name, what, did string) error {
	ids := []string{name}
	if !strings.Contains(name, "/") {
		nodes, _, err := r.devNodes(ctx)
		if err != nil {
			return err
		}
		if ids, err = inRegion(nodes, name); err != nil {
			return err
		}
	}
	for _, id := range ids {
		ask := map[string]string{"node": id}
		if err := r.post(ctx, "/v1/dev/nodes/"+what, ask); err != nil {
			return devOnly(err)
		}
		if err := r.say(std, map[string]string{"node": id, "did": did}, did+" "+id); err != nil {
			return err
		}
	}
	return nil
}

func inRegion(nodes []devNode, region string) ([]string, error) {
	var ids, known []string
	for _, n := range nodes {
		if n.Region == region {
			ids = append(ids, n.ID)
		}
		known = append(known, n.ID)
	}
	if len(ids) == 0 {
		return nil, atoll.Errorf(atoll.UnknownRegion, "there is no region %q", region).
			WithHint("nodes here: " + strings.Join(known, ", "))
	}
	return ids, nil
}

type nodeLeaveCmd struct {
	remote
	Node string `arg:"" name:"region/n" help:"The node that --api names: tokyo/1."`
}

// Run has the asked node leave.
func (c *nodeLeaveCmd) Run(ctx context.Context, std *stdio) error {
	path, err := nodePath(c.Node, "leave")
	if err != nil {
		return err
	}
	if _, _, err := c.bytes(ctx, call{method: http.MethodPost, path: path}); err != nil {
		return err
	}
	return c.say(std, map[string]string{"node": c.Node, "did": "left"}, c.Node+" has left")
}

type nodeForgetCmd struct {
	remote
	Node string `arg:"" name:"region/n" help:"A node that is down for ever, or lost its disk: tokyo/1."`
}

// Run has the cluster forget a node.
func (c *nodeForgetCmd) Run(ctx context.Context, std *stdio) error {
	path, err := nodePath(c.Node, "forget")
	if err != nil {
		return err
	}
	var gone struct{ Origins []string }
	body, err := c.decode(ctx, call{method: http.MethodPost, path: path}, &gone)
	if err != nil {
		return err
	}
	if c.JSON {
		std.printf("%s\n", body)
		return nil
	}
	std.printf("%s is being forgotten (%s): atoll status tells how far that is\n", c.Node,
		strings.Join(gone.Origins, ", "))
	return nil
}

// nodePath is the path of a call about a node.
func nodePath(id, what string) (string, error) {
	region, name, ok := strings.Cut(id, "/")
	if !ok || region == "" || name == "" {
		return "", misuse("%q is no node: write REGION/NAME, such as tokyo/1", id)
	}
	return "/v1/nodes/" + url.PathEscape(region) + "/" + url.PathEscape(name) + "/" + what, nil
}
