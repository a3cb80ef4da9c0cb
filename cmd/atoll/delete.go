package main

import (
	"context"
	"net/http"
)

type deleteCmd struct {
	remote
	writing
	document
}

// Run deletes the document; deleting what is not there is no error.
func (c *deleteCmd) Run(ctx context.Context, io *stdio) error {
	return c.write(ctx, io, c.document, call{method: http.MethodDelete, header: c.header()})
}
