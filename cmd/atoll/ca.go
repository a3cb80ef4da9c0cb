package main

import (
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/node/transport"
)

type caCmd struct {
	Init  caInitCmd  `cmd:"" help:"Make the CA of a new cluster."`
	Issue caIssueCmd `cmd:"" help:"Make the certificate of a node."`
}

type caInitCmd struct {
	Cluster string `arg:"" help:"The cluster's name, a DNS label."`
	Dir     string `default:"atoll-ca" placeholder:"DIR" help:"Where the CA is kept."`
	JSON    bool   `name:"json" help:"Print the result as JSON."`
}

// Run makes a CA. Its key is worth the whole cluster: it stays in that folder,
// nodes get the certificate only.
func (c *caInitCmd) Run(std *stdio) error {
	ca, err := transport.NewCA(c.Cluster, time.Now())
	if err != nil {
		return misused(err)
	}
	if err := ca.Save(c.Dir); err != nil {
		return err
	}
	r := remote{JSON: c.JSON}
	return r.say(std, map[string]string{"cluster": ca.Cluster, "dir": c.Dir},
		"made the CA of "+ca.Cluster+" in "+c.Dir+
			"\nkeep "+transport.CAKeyFile+" away from nodes; next: atoll ca issue REGION/N")
}

type caIssueCmd struct {
	Node string        `arg:"" help:"REGION/NAME: tokyo/1."`
	Dir  string        `default:"atoll-ca" placeholder:"DIR" help:"Where the CA is kept."`
	Host []string      `placeholder:"NAME" help:"Address or name that HTTPS is served under."`
	For  time.Duration `placeholder:"DURATION" help:"How long it is valid; two years without it."`
	Cert string        `default:"node.pem" placeholder:"FILE" help:"Where the certificate goes."`
	Key  string        `default:"node-key.pem" placeholder:"FILE" help:"Where its key goes."`
	JSON bool          `name:"json" help:"Print the result as JSON."`
}

// Run makes a node's certificate and key.
func (c *caIssueCmd) Run(std *stdio) error {
	if c.For < 0 {
		return misuse("--for %s: a certificate is not valid for less than no time", c.For)
	}
	ca, err := transport.LoadCA(c.Dir)
	if err != nil {
		return err
	}
	spec := transport.Spec{Node: atoll.NodeID(c.Node), Hosts: c.Host, For: c.For}
	cert, err := ca.Issue(spec, time.Now())
	if err != nil {
		return misused(err)
	}
	if err := transport.SaveCertificate(c.Cert, c.Key, cert); err != nil {
		return err
	}
	until := cert.Leaf.NotAfter.UTC().Format(time.RFC3339)
	r := remote{JSON: c.JSON}
	return r.say(std,
		map[string]string{"node": c.Node, "cert": c.Cert, "key": c.Key, "not_after": until},
		"issued "+c.Cert+" and "+c.Key+" for "+c.Node+", valid until "+until)
}
