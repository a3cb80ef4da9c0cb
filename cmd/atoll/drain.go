package main

import (
	"context"
	"net/http"
	"net/url"
)

type drainCmd struct {
	remote
	Region string `arg:"" help:"Region."`
	Force  bool   `help:"Even if no healthy region remains."`
}

// Run takes the region out of DNS answers, everywhere and durably.
func (c *drainCmd) Run(ctx context.Context, std *stdio) error {
	query := url.Values{}
	if c.Force {
		query.Set("force", "1")
	}
	return c.steer(ctx, std, c.Region, "drain", query)
}

type undrainCmd struct {
	remote
	Region string `arg:"" help:"Region."`
}

// Run puts the region back.
func (c *undrainCmd) Run(ctx context.Context, std *stdio) error {
	return c.steer(ctx, std, c.Region, "undrain", nil)
}

func (r *remote) steer(
	ctx context.Context, std *stdio, region, what string, query url.Values,
) error {
	path := "/v1/regions/" + url.PathEscape(region) + "/" + what
	ask := call{method: http.MethodPost, path: path, query: query}
	if _, _, err := r.bytes(ctx, ask); err != nil {
		return err
	}
	return r.say(std, map[string]string{"region": region, "did": what}, region+" "+what+"ed")
}
