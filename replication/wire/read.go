package wire

import (
	"encoding/binary"
	"time"

	"github.com/atolledge/atoll"
)

// The frames of a client's read that another node answers. Each has a stream of
// its own; its request is one of the first two of these frames, its answer any
// number of documents and then one of the others.
const (
	TypeRead     Type = 53 // keyspace string, key string, session string, trace string
	TypeList     Type = 54 // keyspace, prefix, after strings, limit, session, trace strings
	TypeDocument Type = 55 // key, etag, body strings, list of conflict
	TypeAnswered Type = 56 // session string, next string
	TypeRefused  Type = 57 // kind, detail, hint, session strings
)

// A conflict is path, kind strings and a list of values; a value is
//
//	JSON string, origin 8, region string, ms since 1970, flags 1 (1: winner)
const flagWinner = 1

// maxTrace bounds a traceparent, in bytes: version 00 has 55.
const maxTrace = 128

// Read asks for one document as a session has to see it.
type Read struct {
	Keyspace atoll.Keyspace
	Key      atoll.Key
	Session  atoll.Token
	Trace    string // the traceparent of the client's request; may be empty
}

// List asks for a page of documents as a session has to see it.
type List struct {
	Keyspace atoll.Keyspace
	Prefix   string
	After    atoll.Key
	Limit    int
	Session  atoll.Token
	Trace    string // the traceparent of the client's request; may be empty
}

// Answered ends an answer: Session covers what it showed.
type Answered struct {
	Session atoll.Token
	Next    atoll.Key
}

// Refused is an answer that is an error for the client. Session may be empty.
type Refused struct {
	Kind         atoll.Kind
	Detail, Hint string
	Session      atoll.Token
}

// Append appends r's frame to b.
func (r Read) Append(b []byte) []byte {
	body := appendString(appendString(nil, r.Keyspace), r.Key)
	return AppendFrame(b, TypeRead, appendString(appendString(body, r.Session), r.Trace))
}

// Append appends l's frame to b.
func (l List) Append(b []byte) []byte {
	body := appendString(appendString(appendString(nil, l.Keyspace), l.Prefix), l.After)
	body = binary.AppendUvarint(body, uint64(l.Limit))
	return AppendFrame(b, TypeList, appendString(appendString(body, l.Session), l.Trace))
}

// AppendDocument appends the body of a TypeDocument to b.
func AppendDocument(b []byte, d atoll.Document) []byte {
	b = appendString(appendString(appendString(b, d.Key), d.ETag), string(d.Body))
	b = binary.AppendUvarint(b, uint64(len(d.Conflicts)))
	for _, c := range d.Conflicts {
		b = appendString(appendString(b, c.Path), c.Kind)
		b = binary.AppendUvarint(b, uint64(len(c.Values)))
		for _, v := range c.Values {
			b = binary.BigEndian.AppendUint64(appendString(b, string(v.JSON)), uint64(v.Origin))
			b = binary.AppendUvarint(appendString(b, v.Region), uint64(max(v.Time.UnixMilli(), 0)))
			b = append(b, flags(v.Winner, flagWinner))
		}
	}
	return b
}

// AppendAnswered appends the body of a TypeAnswered to b.
func AppendAnswered(b []byte, a Answered) []byte {
	return appendString(appendString(b, a.Session), a.Next)
}

// AppendRefused appends the body of a TypeRefused to b.
func AppendRefused(b []byte, r Refused) []byte {
	return appendString(appendString(appendString(appendString(b, r.Kind), r.Detail), r.Hint), r.Session)
}

// DecodeRead reads the body of a TypeRead.
func DecodeRead(body []byte) (Read, error) {
	d := decoder{b: body}
	r := Read{Keyspace: d.keyspace(), Key: d.key(), Session: d.session(), Trace: d.trace()}
	return r, d.err("read")
}

// DecodeList reads the body of a TypeList.
func DecodeList(body []byte) (List, error) {
	d := decoder{b: body}
	l := List{Keyspace: d.keyspace(), Prefix: string(d.key()), After: d.key()}
	limit := d.uvarint()
	if limit > atoll.MaxPage {
		d.bad = true
	}
	l.Limit, l.Session, l.Trace = int(limit), d.session(), d.trace()
	return l, d.err("listing")
}

// DecodeDocument reads the body of a TypeDocument. The result aliases body.
func DecodeDocument(body []byte) (atoll.Document, error) {
	d := decoder{b: body}
	doc := atoll.Document{Key: d.key(), ETag: string(d.string()), Body: d.string()}
	for range d.count(3) {
		c := atoll.Conflict{Path: string(d.string()), Kind: string(d.string())}
		for range d.count(12) {
			v := atoll.Value{JSON: d.string(), Origin: atoll.Origin(d.uint64()),
				Region: atoll.Region(d.string())}
			v.Time = time.UnixMilli(int64(d.uvarint() & (1<<48 - 1)))
			v.Winner = d.byte()&flagWinner != 0
			c.Values = append(c.Values, v)
		}
		doc.Conflicts = append(doc.Conflicts, c)
	}
	return doc, d.err("document")
}

// DecodeAnswered reads the body of a TypeAnswered.
func DecodeAnswered(body []byte) (Answered, error) {
	d := decoder{b: body}
	a := Answered{Session: d.session(), Next: d.key()}
	return a, d.err("end of an answer")
}

// DecodeRefused reads the body of a TypeRefused.
func DecodeRefused(body []byte) (Refused, error) {
	d := decoder{b: body}
	r := Refused{Kind: atoll.Kind(d.string()), Detail: string(d.string()), Hint: string(d.string())}
	r.Session = d.session()
	return r, d.err("refusal")
}

// key reads a key or a part of one.
func (d *decoder) key() atoll.Key { return atoll.Key(d.short(atoll.MaxKey)) }

func (d *decoder) session() atoll.Token { return atoll.Token(d.short(atoll.MaxToken)) }

func (d *decoder) trace() string { return string(d.short(maxTrace)) }

// short reads a string of at most so many bytes.
func (d *decoder) short(most int) []byte {
	s := d.string()
	if len(s) > most {
		d.bad = true
		return nil
	}
	return s
}
