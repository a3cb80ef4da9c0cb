package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api/guard"
)

// object is a JSON object of the description; encoding/json writes its members
// in byte order, so that the description is the same each time.
type object = map[string]any

// oneOf is a shape that is one of several.
type oneOf []any

// operations is the body of a PATCH of type application/vnd.atoll.ops+json. It
// is only described here: the node reads it.
type operations struct {
	Ops []operation `json:"ops" doc:"applied in order, all or none"`
}

type operation struct {
	Op     string          `json:"op" doc:"inc, add, remove, set, unset, score, unscore or bound"`
	Path   string          `json:"path" doc:"JSON Pointer (RFC 6901)"`
	By     float64         `json:"by,omitempty" doc:"of inc; may be negative"`
	Member string          `json:"member,omitempty" doc:"of score and unscore: a name in the sorted set at path, which shows as an object of numbers; a number that is written into it by any call is a score"`
	Min    int64           `json:"min,omitempty" doc:"of bound: the number at path becomes a counter that no region ever takes below min, cut off or not; inc, and a whole number that is put, merged or set there, move it: 409 at-bound beyond the bound, 503 no-rights where other regions hold the rights to do so"`
	Value  json.RawMessage `json:"value,omitempty" doc:"of add, remove, set and score; a score is a number, 1e999 is infinite. An array that is to lose items in several regions at once is begun with add: of one that was written whole, the first removals that meet bring each other's items back"`
}

// The parameters of documents, which are headers.
var (
	sessionParam = param{sessionHeader, "the token of your last answer: read your writes, " +
		"and nothing older than you saw, in any region", ""}
	ifMatchParam = param{"If-Match", "only if the document's ETag is one of these, or with * " +
		"if there is one", ""}
	ifNoneMatchParam = param{"If-None-Match", "only if the document's ETag is none of these, " +
		"or with * if there is none", ""}
	ttlParam        = param{"Atoll-TTL", "time to live, a Go duration up to 10 years", "30m"}
	durabilityParam = param{"Atoll-Durability", "whose disks must have it before the answer: " +
		"local, region, regions:N or all", "regions:2"}
	timeoutParam = param{"Atoll-Timeout", "how long to wait for that, 1ms to 60s; else 5s", "5s"}
	prefixParam  = param{"prefix", "only keys that begin so", "hip/"}
)

// variables explains the variables of patterns.
var variables = map[string]string{
	"keyspace": "[a-z][a-z0-9-]{0,62}",
	"key": "all that follows in the path, percent-decoded once: 1 to 512 bytes of UTF-8 without " +
		"NUL. Nothing is cleaned: a//b and a/../b are keys of their own, a%2Fb is a/b. The first " +
		"segment does not begin with _",
	"region": "a region's name",
}

// headerTexts explains the headers of answers.
var headerTexts = map[string]string{
	"ETag":            "strong: a digest of the document's dots, equal in all regions that agree",
	sessionHeader:     "what you have written and seen; send it back, in any region",
	"Atoll-Conflicts": "how many cells hold values that lost",
	"Retry-After":     "seconds",
	"Atoll-Region":    "the region that answers",
	"Atoll-Node":      "the node that answers",
	"Traceparent":     "W3C Trace Context",
}

// everywhereHeaders are those of every answer.
var everywhereHeaders = []string{"Atoll-Region", "Atoll-Node", "Traceparent"}

// describe writes the OpenAPI 3.1 document of a table of routes.
func describe(routes []route) ([]byte, error) {
	shapes := shapeSet{}
	paths := object{}
	for _, rt := range routes {
		path := strings.ReplaceAll(rt.pattern, "...}", "}")
		item, ok := paths[path].(object)
		if !ok {
			item = object{"parameters": pathParams(rt.pattern)}
			paths[path] = item
		}
		item[strings.ToLower(rt.method)] = rt.describe(shapes)
		if rt.method == http.MethodGet {
			item["head"] = rt.describeHead(shapes)
		}
	}
	shapes.of(reflect.TypeFor[problem]())
	headers := object{}
	for name, text := range headerTexts {
		headers[name] = object{"description": text, "schema": object{"type": "string"}}
	}
	spec := object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Atoll", "version": "1",
			"description": "Documents that are read and written in the nearest region.",
			"license":     object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
		},
		"servers": []object{{"url": "/"}},
		"paths":   paths,
		"components": object{
			"schemas": shapes, "headers": headers,
			"securitySchemes": object{"token": object{
				"type": "http", "scheme": "bearer",
				"description": "A token of api.tokens. None is needed on loopback if none is configured.",
			}},
		},
	}
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(spec)
	return buf.Bytes(), err
}

func pathParams(pattern string) []object {
	params := []object{}
	for segment := range strings.SplitSeq(pattern, "/") {
		if name, ok := strings.CutPrefix(segment, "{"); ok {
			name = strings.TrimRight(name, ".}")
			params = append(params, object{
				"name": name, "in": "path", "required": true,
				"description": variables[name], "schema": object{"type": "string"},
			})
		}
	}
	return params
}

// describe returns the Operation Object of a route (OpenAPI 3.1.0, 4.8.10).
func (rt route) describe(shapes shapeSet) object {
	op := object{
		"operationId": rt.id, "summary": rt.summary,
		"responses": rt.responses(shapes), "security": security(rt.role),
	}
	if rt.role > guard.Anyone {
		op["description"] = "Needs the role " + rt.role.String() + "."
	}
	var params []object
	for _, in := range []struct {
		where  string
		params []param
	}{{"query", rt.query}, {"header", rt.headers}} {
		for _, p := range in.params {
			o := object{"name": p.name, "in": in.where, "description": p.text,
				"schema": object{"type": "string"}}
			if p.example != "" {
				o["example"] = p.example
			}
			params = append(params, o)
		}
	}
	if params != nil {
		op["parameters"] = params
	}
	if rt.body != nil {
		op["requestBody"] = object{"required": true, "content": contents(rt.body, shapes)}
	}
	return op
}

// describeHead is the GET without bodies.
func (rt route) describeHead(shapes shapeSet) object {
	op := rt.describe(shapes)
	op["operationId"] = "head" + strings.TrimPrefix(rt.id, "get")
	op["summary"] = "The headers of GET: " + rt.summary
	for _, r := range op["responses"].(object) {
		delete(r.(object), "content")
	}
	return op
}

func security(role guard.Role) []object {
	if role == guard.Anyone {
		return []object{{}}
	}
	return []object{{"token": []string{}}}
}

// responses describes what a route answers: its own answers, and one problem
// for each status that its kinds of error have.
func (rt route) responses(shapes shapeSet) object {
	out := object{}
	for _, a := range rt.answers {
		o := object{"description": a.text, "headers": headerRefs(a.headers)}
		if a.content != nil {
			o["content"] = contents(a.content, shapes)
		}
		out[strconv.Itoa(a.status)] = o
	}
	kindsOf := map[int][]string{}
	for _, k := range rt.problems() {
		status := kindOf(k).status
		kindsOf[status] = append(kindsOf[status], string(k))
	}
	for status, names := range kindsOf {
		if _, own := out[strconv.Itoa(status)]; own {
			continue
		}
		slices.Sort(names)
		out[strconv.Itoa(status)] = object{
			"description": strings.Join(slices.Compact(names), ", "), "headers": headerRefs(nil),
			"content": contents([]content{{typeProblem, problem{}}}, shapes),
		}
	}
	return out
}

// problems returns the kinds of error that a route may answer with.
func (rt route) problems() []atoll.Kind {
	kinds := append([]atoll.Kind{atoll.BadRequest, atoll.Internal}, rt.kinds...)
	if rt.role > guard.Anyone {
		kinds = append(kinds, atoll.Unauthenticated, atoll.Forbidden)
	}
	return kinds
}

func headerRefs(names []string) object {
	out := object{}
	for _, name := range slices.Concat(names, everywhereHeaders) {
		out[name] = object{"$ref": "#/components/headers/" + name}
	}
	return out
}

func contents(list []content, shapes shapeSet) object {
	out := object{}
	for _, c := range list {
		out[c.media] = object{"schema": shapes.schema(c.shape)}
	}
	return out
}

// shapeSet is the schemas of the named Go types that bodies consist of: the
// types that the handlers encode are what is described.
type shapeSet map[string]object

func (s shapeSet) schema(shape any) object {
	if shape == nil {
		return object{"type": "string"}
	}
	if alternatives, ok := shape.(oneOf); ok {
		schemas := []object{}
		for _, a := range alternatives {
			schemas = append(schemas, s.schema(a))
		}
		return object{"anyOf": schemas}
	}
	return s.of(reflect.TypeOf(shape))
}

// of returns the schema of a type; that of a struct is kept in s and referred
// to. Types that the table above does not use panic: New finds them at once.
func (s shapeSet) of(t reflect.Type) object {
	switch {
	case t == reflect.TypeFor[json.RawMessage]():
		return object{"description": "any JSON"}
	case t == reflect.TypeFor[stamp]():
		return object{"type": "string", "format": "date-time"}
	}
	switch t.Kind() {
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return object{"type": "integer"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Slice:
		return object{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Pointer:
		return object{"anyOf": []object{s.of(t.Elem()), {"type": "null"}}}
	case reflect.Struct:
		return s.ofStruct(t)
	}
	panic(fmt.Sprintf("api: no schema for %v", t))
}

func (s shapeSet) ofStruct(t reflect.Type) object {
	name := strings.ToUpper(t.Name()[:1]) + t.Name()[1:]
	ref := object{"$ref": "#/components/schemas/" + name}
	if _, ok := s[name]; ok {
		return ref
	}
	properties, required := object{}, []string{}
	s[name] = object{"type": "object", "properties": properties}
	for i := range t.NumField() {
		f := t.Field(i)
		member, option, _ := strings.Cut(f.Tag.Get("json"), ",")
		optional := option == "omitempty"
		typ := f.Type
		if optional && typ.Kind() == reflect.Pointer {
			typ = typ.Elem() // left out rather than null
		}
		schema := s.of(typ)
		if doc := f.Tag.Get("doc"); doc != "" {
			schema = maps.Clone(schema)
			schema["description"] = doc
		}
		properties[member] = schema
		if !optional && f.Tag.Get("put") != "optional" {
			required = append(required, member)
		}
	}
	s[name]["required"] = required
	return ref
}
