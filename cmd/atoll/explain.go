package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
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
	var why json.RawMessage
	body, err := c.decode(ctx, call{
		method: http.MethodGet, path: "/v1/explain/dns", query: query,
	}, &why)
	if err != nil {
		return err
	}
	if !c.JSON {
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, body, "", "  "); err != nil {
			return err
		}
		body = pretty.Bytes()
	}
	std.printf("%s\n", body)
	return nil
}
