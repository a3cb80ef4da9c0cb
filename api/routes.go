package api

import (
	"encoding/json"
	"slices"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api/guard"
)

// about describes a route for people and for generators of clients.
type about struct {
	id      string // operationId
	summary string
	query   []param
	headers []param // of the request
	body    []content
	answers []answer
	kinds   []atoll.Kind // of its problems, beside those that every route may have
}

// param is one parameter of a query or header. Its example shows its form.
type param struct {
	name, text, example string
}

// content is one media type that a body may have; shape is a value of the type
// that it holds, nil for bytes that are no JSON.
type content struct {
	media string
	shape any
}

// answer is one status that is no problem.
type answer struct {
	status  int
	text    string
	headers []string
	content []content
}

// metricsPattern is the route that needs no token on loopback, so that a
// collector on the same machine needs no secret.
const metricsPattern = "/metrics"

// sessionHeader says what a client has written and seen.
const sessionHeader = "Atoll-Session"

// anyJSON is the shape of a document.
type anyJSON = json.RawMessage

// routes is the table of all calls but those of Mounts. Of several patterns
// that match a path the first one counts.
func routes() []route {
	return slices.Concat(documentRoutes(), mediaRoutes(), streamRoutes(),
		[]route{watchRoute()}, nodeRoutes())
}

func documentRoutes() []route {
	const pattern = "/v1/docs/{keyspace}/{key...}"
	tagged := []string{"ETag", sessionHeader}
	reads := []param{sessionParam}
	writes := []param{
		sessionParam, ifMatchParam, ifNoneMatchParam, ttlParam, durabilityParam, timeoutParam,
	}
	written := []atoll.Kind{
		atoll.BadKey, atoll.KeyTooLong, atoll.BadJSON, atoll.DuplicateKey, atoll.TooLarge,
		atoll.UnsupportedMediaType, atoll.UnknownKeyspace, atoll.PreconditionFailed, atoll.KindClash,
		atoll.AtBound, atoll.NoRights, atoll.DurabilityImpossible, atoll.DurabilityNotReached, atoll.BehindSession, atoll.Fenced,
		atoll.ShuttingDown, atoll.DiskFull,
	}
	done := []answer{
		{201, "Written; there was no document.", tagged, nil},
		{204, "Written.", tagged, nil},
	}
	// The calls on a whole keyspace come first: a key cannot begin with "_".
	return []route{
		{"GET", "/v1/docs/{keyspace}", guard.Reader, (*Server).listDocuments, about{
			id: "listDocuments", summary: "A page of documents in byte order of their keys",
			query: []param{
				prefixParam, {"after", "the key after which to begin", "hip/100"},
				{"limit", "documents, 1 to 1000; else 100", "100"},
			},
			headers: reads,
			answers: []answer{{200, "A page.", []string{sessionHeader}, []content{{typeJSON, page{}}}}},
			kinds: []atoll.Kind{atoll.UnknownKeyspace, atoll.KeyTooLong, atoll.BadKey,
				atoll.BehindSession},
		}},
		{"POST", "/v1/docs/{keyspace}/_import", guard.Writer, (*Server).importDocuments, importAbout()},
		{"GET", "/v1/docs/{keyspace}/_export", guard.Reader, (*Server).exportDocuments, about{
			id:      "exportDocuments",
			summary: "All documents in byte order of keys, byte-equal where regions agree",
			query:   []param{prefixParam}, headers: reads,
			answers: []answer{{200, "One document a line.", []string{sessionHeader},
				[]content{{typeNDJSON, item{}}}}},
			kinds: []atoll.Kind{atoll.UnknownKeyspace, atoll.BehindSession},
		}},
		{"GET", pattern, guard.Reader, (*Server).getDocument, about{
			id: "getDocument", summary: "The document itself",
			query:   []param{{"conflicts", "1: with the concurrent values that lost", "1"}},
			headers: []param{sessionParam, ifMatchParam, ifNoneMatchParam},
			answers: []answer{
				{200, "The document, or with conflicts=1 a DocumentWithConflicts.",
					[]string{"ETag", sessionHeader, "Atoll-Conflicts"},
					[]content{{typeJSON, oneOf{anyJSON{}, withConflicts{}}}}},
				{304, "If-None-Match names it.", tagged, nil},
			},
			kinds: []atoll.Kind{atoll.BadKey, atoll.KeyTooLong, atoll.NotFound, atoll.UnknownKeyspace,
				atoll.PreconditionFailed, atoll.BehindSession},
		}},
		{"PUT", pattern, guard.Writer, (*Server).putDocument, about{
			id: "putDocument", summary: "Write the whole document", headers: writes,
			body: []content{{typeJSON, anyJSON{}}}, answers: done, kinds: written,
		}},
		{"PATCH", pattern, guard.Writer, (*Server).patchDocument, about{
			id: "patchDocument", summary: "Change parts of a document, all or none", headers: writes,
			body:    []content{{typeMerge, anyJSON{}}, {typeOps, operations{}}},
			answers: done, kinds: written,
		}},
		{"DELETE", pattern, guard.Writer, (*Server).deleteDocument, about{
			id: "deleteDocument", summary: "Delete the document; nothing stays behind", headers: writes,
			answers: []answer{{204, "Gone, or was not there.", []string{sessionHeader}, nil}},
			kinds:   written,
		}},
	}
}

func importAbout() about {
	return about{
		id: "importDocuments",
		summary: "Write a stream of documents; a bad one is reported and the rest goes in. " +
			"The answer begins while the body still arrives; its last line has done.",
		query: []param{{"key", "the member that holds each document's key; " +
			"without it the records are those of an export", "id"}},
		headers: []param{ttlParam, durabilityParam, timeoutParam},
		body:    []content{{typeNDJSON, oneOf{item{}, anyJSON{}}}, {typeJSON, []anyJSON{}}},
		answers: []answer{{200, "Lines of progress and of rejected records.", nil,
			[]content{{typeNDJSON, oneOf{progress{}, rejected{}}}}}},
		kinds: []atoll.Kind{atoll.UnsupportedMediaType, atoll.UnknownKeyspace, atoll.Fenced,
			atoll.DurabilityImpossible, atoll.ShuttingDown, atoll.DiskFull},
	}
}

func streamRoutes() []route {
	return []route{
		{"GET", "/v1/keyspaces/{keyspace}", guard.Reader, (*Server).getKeyspace, about{
			id: "getKeyspace", summary: "The settings of a keyspace",
			answers: []answer{{200, "Settings.", nil, []content{{typeJSON, settings{}}}}},
			kinds:   []atoll.Kind{atoll.UnknownKeyspace},
		}},
		{"PUT", "/v1/keyspaces/{keyspace}", guard.Operator, (*Server).putKeyspace, about{
			id: "putKeyspace", summary: "Set the settings of a keyspace; makes it if there is none",
			body: []content{{typeJSON, settings{}}},
			answers: []answer{
				{200, "Set.", nil, []content{{typeJSON, settings{}}}},
				{201, "Made.", nil, []content{{typeJSON, settings{}}}},
			},
			kinds: []atoll.Kind{atoll.BadJSON, atoll.DuplicateKey, atoll.TooLarge,
				atoll.UnsupportedMediaType, atoll.Fenced, atoll.ShuttingDown, atoll.DiskFull},
		}},
		{"GET", "/v1/conflicts", guard.Reader, (*Server).getConflicts, about{
			id: "getConflicts", summary: "Recent concurrent writes, newest first",
			query: []param{{"keyspace", "only this one", "stars"},
				{"limit", "entries, 1 to 1000; else 100", "100"}},
			answers: []answer{{200, "The feed.", nil, []content{{typeJSON, conflictFeed{}}}}},
		}},
	}
}

func nodeRoutes() []route {
	drained := []atoll.Kind{atoll.UnknownRegion, atoll.Fenced, atoll.ShuttingDown, atoll.DiskFull}
	return []route{
		{"GET", "/v1/cluster", guard.Reader, (*Server).getCluster, about{
			id: "getCluster", summary: "What this node knows of the cluster",
			answers: []answer{{200, "The cluster.", nil, []content{{typeJSON, cluster{}}}}},
		}},
		{"POST", "/v1/regions/{region}/drain", guard.Operator, (*Server).drainRegion, about{
			id: "drainRegion", summary: "Take a region out of DNS answers",
			query:   []param{{"force", "1: even if no healthy region would remain", "1"}},
			answers: []answer{{204, "Drained.", nil, nil}}, kinds: drained,
		}},
		{"POST", "/v1/regions/{region}/undrain", guard.Operator, (*Server).undrainRegion, about{
			id: "undrainRegion", summary: "Let a region into DNS answers again",
			answers: []answer{{204, "Undrained.", nil, nil}}, kinds: drained,
		}},
		{"POST", "/v1/nodes/{region}/{name}/leave", guard.Operator, (*Server).leaveNode, about{
			id: "leaveNode", summary: "Take the asked node out of the cluster, when others have " +
				"all that it wrote; its process ends",
			answers: []answer{{204, "It has left.", nil, nil}},
			kinds: []atoll.Kind{atoll.DurabilityNotReached, atoll.PreconditionFailed, atoll.Fenced,
				atoll.ShuttingDown, atoll.DiskFull},
		}},
		{"POST", "/v1/nodes/{region}/{name}/forget", guard.Operator, (*Server).forgetNode, about{
			id: "forgetNode", summary: "Take a node that is gone out of the cluster for good",
			answers: []answer{{200, "What is being forgotten; GET /v1/cluster tells how far it is.",
				nil, []content{{typeJSON, member{}}}}},
			kinds: []atoll.Kind{atoll.NotFound, atoll.PreconditionFailed, atoll.Fenced,
				atoll.ShuttingDown, atoll.DiskFull},
		}},
		{"GET", "/v1/explain/dns", guard.Reader, (*Server).explainDNS, about{
			id: "explainDNS", summary: "Why DNS answers a client as it does",
			query: []param{{"name", "the name asked for", "www.atoll.test"},
				{"ip", "the client's address; else your own", "192.0.2.1"}},
			answers: []answer{{200, "The reasons.", nil, []content{{typeJSON, anyJSON{}}}}},
			kinds:   []atoll.Kind{atoll.NotFound},
		}},
		{"GET", "/openapi.json", guard.Anyone, (*Server).getOpenAPI, about{
			id: "getOpenAPI", summary: "This description",
			answers: []answer{{200, "OpenAPI 3.1.", nil, []content{{typeJSON, anyJSON{}}}}},
		}},
		{"GET", "/livez", guard.Anyone, (*Server).getLive, about{
			id: "getLive", summary: "Whether the process answers",
			answers: []answer{{200, "It does.", nil, []content{{typeJSON, liveness{}}}}},
		}},
		{"GET", "/readyz", guard.Anyone, (*Server).getReady, about{
			id: "getReady", summary: "Whether the node should get traffic, and why not",
			answers: []answer{
				{200, "It should.", nil, []content{{typeJSON, readiness{}}}},
				{503, "It should not.", []string{"Retry-After"}, []content{{typeJSON, readiness{}}}},
			},
		}},
		{"GET", metricsPattern, guard.Reader, (*Server).getMetrics, about{
			id: "getMetrics", summary: "Metrics in the text format of Prometheus; no token on loopback",
			answers: []answer{{200, "Metrics.", nil, []content{{"text/plain", nil}}}},
		}},
	}
}
