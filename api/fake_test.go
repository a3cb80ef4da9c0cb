package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/atolledge/atoll"
	"github.com/go-json-experiment/json/jsontext"
)

// fake is a Node in memory: one replica, no peers. Documents are trees of
// encoding/json with numbers as text. Its hooks let a test see or refuse what
// the handlers ask.
type fake struct {
	mu        sync.Mutex
	spaces    map[atoll.Keyspace]*space
	version   int
	reasons   []string
	conflicts []atoll.Conflicted
	losers    []atoll.Conflict // of every document that is read
	cluster   atoll.Cluster
	drained   map[atoll.Region]bool
	other     atoll.NodeID // that answers reads in this one's place

	onWrite func(context.Context, atoll.Write) error
	onRead  func(atoll.Read) error
	onList  func(atoll.Listing) error
}

type space struct {
	settings atoll.Settings
	docs     map[atoll.Key]stored
}

type stored struct {
	tree any
	etag string
}

func newFake() *fake {
	return &fake{
		spaces: map[atoll.Keyspace]*space{}, drained: map[atoll.Region]bool{},
		cluster: atoll.Cluster{Name: "test", Self: "tokyo/1", Regions: []atoll.RegionView{
			{Name: "frankfurt", State: atoll.StateUp}, {Name: "tokyo", State: atoll.StateUp},
		}},
	}
}

func (f *fake) Self() atoll.NodeID { return f.cluster.Self }

func (f *fake) Ready() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.reasons)
}

func (f *fake) Conflicts() []atoll.Conflicted { return f.conflicts }
func (f *fake) Cluster() atoll.Cluster        { return f.cluster }

func (f *fake) token() atoll.Token { return atoll.Token(fmt.Sprint("v", f.version)) }

// behind is the session check of a replica that knows all there is.
func (f *fake) behind(t atoll.Token) error {
	if t == "" {
		return nil
	}
	n, err := strconv.Atoi(strings.TrimPrefix(string(t), "v"))
	if err != nil {
		return atoll.Errorf(atoll.BadRequest, "Atoll-Session %q", t)
	}
	if n > f.version {
		return atoll.Errorf(atoll.BehindSession, "seen %d of %d", f.version, n)
	}
	return nil
}

func (f *fake) space(ks atoll.Keyspace) (*space, error) {
	if s := f.spaces[ks]; s != nil {
		return s, nil
	}
	return nil, atoll.Errorf(atoll.UnknownKeyspace, "there is no keyspace %q", ks)
}

func (f *fake) Read(_ context.Context, r atoll.Read) (atoll.Document, error) {
	if f.onRead != nil {
		if err := f.onRead(r); err != nil {
			return atoll.Document{}, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.behind(r.Session); err != nil {
		return atoll.Document{}, err
	}
	s, err := f.space(r.Keyspace)
	if err != nil {
		return atoll.Document{}, err
	}
	d, ok := s.docs[r.Key]
	if !ok {
		return atoll.Document{Session: f.token()}, atoll.Errorf(atoll.NotFound, "no %q", r.Key)
	}
	return atoll.Document{Key: r.Key, Body: text(d.tree), ETag: d.etag, Session: f.token(),
		Conflicts: f.losers, Node: f.other}, nil
}

func (f *fake) Write(ctx context.Context, w atoll.Write) (atoll.Written, error) {
	if f.onWrite != nil {
		if err := f.onWrite(ctx, w); err != nil {
			return atoll.Written{}, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.spaces[w.Keyspace]
	if s == nil {
		s = &space{docs: map[atoll.Key]stored{}, settings: atoll.Settings{Partitions: 64}}
	}
	old, existed := s.docs[w.Key]
	if holds(w.IfMatch, old.etag, existed, true) || holds(w.IfNoneMatch, old.etag, existed, false) {
		return atoll.Written{}, atoll.Errorf(atoll.PreconditionFailed, "it is %q", old.etag)
	}
	tree, err := changed(w, old.tree)
	if err != nil {
		return atoll.Written{}, err
	}
	f.spaces[w.Keyspace] = s
	f.version++
	out := atoll.Written{Existed: existed, Session: f.token()}
	if w.Change == atoll.Delete {
		delete(s.docs, w.Key)
		return out, nil
	}
	h := fnv.New64a()
	fmt.Fprint(h, f.version, string(text(tree)))
	out.ETag = fmt.Sprintf("%016x", h.Sum64())
	s.docs[w.Key] = stored{tree, out.ETag}
	return out, nil
}

// holds reports whether a condition refuses: none of the tags match though one
// has to, or one does though none may.
func holds(tags []string, etag string, exists, want bool) bool {
	if tags == nil {
		return false
	}
	match := slices.ContainsFunc(tags, func(t string) bool { return exists && (t == "*" || t == etag) })
	return match != want
}

func changed(w atoll.Write, old any) (any, error) {
	if w.Change == atoll.Delete {
		return nil, nil
	}
	body, err := parse(w.Body)
	if err != nil {
		return nil, err
	}
	switch w.Change {
	case atoll.Merge:
		return merge(old, body), nil
	case atoll.Ops:
		return operate(old, body)
	}
	return body, nil
}

// parse reads strict JSON.
func parse(b []byte) (any, error) {
	d := jsontext.NewDecoder(bytes.NewReader(b))
	_, err := d.ReadValue()
	if err == nil {
		if _, err = d.ReadToken(); err == nil {
			err = errors.New("something follows")
		} else if err == io.EOF {
			err = nil
		}
	}
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return nil, atoll.Errorf(atoll.DuplicateKey, "a member twice")
	}
	if err != nil {
		return nil, atoll.Errorf(atoll.BadJSON, "not JSON").Because(err)
	}
	var v any
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	return v, errors.Join(dec.Decode(&v))
}

// merge is RFC 7396, section 2, word by word.
func merge(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, ok := target.(map[string]any)
	if !ok {
		t = map[string]any{}
	}
	out := map[string]any{}
	for k, v := range t {
		out[k] = v
	}
	for k, v := range p {
		if v == nil {
			delete(out, k)
		} else {
			out[k] = merge(out[k], v)
		}
	}
	return out
}

// operate knows inc, set and unset of top-level members: enough for a handler.
func operate(old, body any) (any, error) {
	ops, ok := body.(map[string]any)["ops"].([]any)
	if !ok {
		return nil, atoll.Errorf(atoll.BadRequest, "no ops")
	}
	out, _ := merge(old, map[string]any{}).(map[string]any)
	for _, o := range ops {
		op, _ := o.(map[string]any)
		path, _ := op["path"].(string)
		name := strings.TrimPrefix(path, "/")
		switch op["op"] {
		case "inc":
			n, ok := out[name].(json.Number)
			if out[name] != nil && !ok {
				return nil, atoll.Errorf(atoll.KindClash, "%s is no number", path)
			}
			had, _ := n.Int64()
			by, _ := op["by"].(json.Number).Int64()
			out[name] = json.Number(fmt.Sprint(had + by))
		case "set":
			out[name] = op["value"]
		case "unset":
			delete(out, name)
		default:
			return nil, atoll.Errorf(atoll.BadRequest, "op %v", op["op"])
		}
	}
	return out, nil
}

func text(tree any) []byte {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(tree); err != nil {
		panic(err)
	}
	return bytes.TrimSpace(buf.Bytes())
}

func (f *fake) List(_ context.Context, l atoll.Listing) (atoll.Page, error) {
	if f.onList != nil {
		if err := f.onList(l); err != nil {
			return atoll.Page{}, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.behind(l.Session); err != nil {
		return atoll.Page{}, err
	}
	s, err := f.space(l.Keyspace)
	if err != nil {
		return atoll.Page{}, err
	}
	var keys []atoll.Key
	for k := range s.docs {
		if k > l.After && strings.HasPrefix(string(k), l.Prefix) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	p := atoll.Page{Session: f.token(), Node: f.other}
	for i, k := range keys {
		if i == l.Limit {
			p.Next = keys[i-1]
			break
		}
		p.Items = append(p.Items, atoll.Document{Key: k, Body: text(s.docs[k].tree),
			ETag: s.docs[k].etag})
	}
	return p, nil
}

func (f *fake) Settings(_ context.Context, ks atoll.Keyspace) (atoll.Settings, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := f.space(ks)
	if err != nil {
		return atoll.Settings{}, err
	}
	return s.settings, nil
}

func (f *fake) Configure(_ context.Context, ks atoll.Keyspace, s atoll.Settings) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	had := f.spaces[ks]
	if had == nil {
		f.spaces[ks] = &space{s, map[atoll.Key]stored{}}
		return true, nil
	}
	had.settings = s
	return false, nil
}

func (f *fake) Drain(_ context.Context, r atoll.Region, force bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	left := 0
	known := false
	for _, v := range f.cluster.Regions {
		known = known || v.Name == r
		if v.Name != r && !f.drained[v.Name] {
			left++
		}
	}
	if !known {
		return atoll.Errorf(atoll.UnknownRegion, "no region %q", r)
	}
	if left == 0 && !force {
		return atoll.Errorf(atoll.BadRequest, "no healthy region would remain")
	}
	f.drained[r] = true
	return nil
}

func (f *fake) Undrain(_ context.Context, r atoll.Region) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r != "tokyo" && r != "frankfurt" {
		return atoll.Errorf(atoll.UnknownRegion, "no region %q", r)
	}
	delete(f.drained, r)
	return nil
}

func (f *fake) Leave(_ context.Context, id atoll.NodeID) error {
	if id != f.Self() {
		return atoll.Errorf(atoll.BadRequest, "this is %s", f.Self())
	}
	return nil
}

func (f *fake) Forget(_ context.Context, id atoll.NodeID) ([]atoll.Origin, error) {
	if id == f.Self() {
		return nil, atoll.Errorf(atoll.PreconditionFailed, "%s is connected", id)
	}
	return []atoll.Origin{7}, nil
}
