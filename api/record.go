package api

import (
	"bytes"
	"errors"
	"io"

	"github.com/atolledge/atoll"
	"github.com/go-json-experiment/json/jsontext"
)

// parseRecord returns the key and the document of a record: those of an export
// line, or the whole record under the key that its member field has.
func parseRecord(text []byte, field string) (atoll.Key, []byte, error) {
	if field == "" {
		return parseExported(text)
	}
	var key string
	found := false
	err := members(text, func(name string, value jsontext.Value) (more bool, err error) {
		if name != field {
			return true, nil
		}
		found = true
		key, err = keyText(value)
		return false, err
	})
	if err != nil {
		return "", nil, err
	}
	if !found {
		return "", nil, atoll.Errorf(atoll.BadRequest, "the record has no member %q", field).
			WithHint("key=FIELD names the member that holds each document's key")
	}
	k, err := atoll.ParseKey(key)
	return k, text, err
}

// keyText returns a string's value, or a number as it is written.
func keyText(v jsontext.Value) (string, error) {
	switch v.Kind() {
	case '"':
		text, err := jsontext.AppendUnquote(nil, v)
		return string(text), err
	case '0':
		return string(v), nil
	}
	return "", atoll.Errorf(atoll.BadRequest, "the key of a record is neither string nor number")
}

// parseExported reads {"key":…,"etag":…,"doc":…}; the etag is of another time.
func parseExported(text []byte) (atoll.Key, []byte, error) {
	var key string
	var doc []byte
	err := members(text, func(name string, value jsontext.Value) (more bool, err error) {
		switch name {
		case "key":
			key, err = keyText(value)
		case "doc":
			doc = bytes.Clone(value)
		case "etag":
		default:
			err = atoll.Errorf(atoll.BadRequest, "an export line has no member %q", name).
				WithHint("to import plain documents, name the member that holds the key: ?key=FIELD")
		}
		return true, err
	})
	if err != nil {
		return "", nil, err
	}
	k, err := atoll.ParseKey(key)
	switch {
	case err != nil:
		return "", nil, err
	case doc == nil:
		return k, nil, atoll.Errorf(atoll.BadRequest, "the export line has no member \"doc\"")
	case len(doc) > MaxDocument:
		return k, nil, tooLarge(MaxDocument)
	}
	return k, doc, nil
}

// members calls f with each member of a JSON object until f wants no more. A
// value is f's only until it returns.
func members(text []byte, f func(string, jsontext.Value) (more bool, err error)) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(text))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return atoll.Errorf(atoll.BadJSON, "the record is not a JSON object").Because(err)
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return badRecord(err)
		}
		key := name.String()
		value, err := d.ReadValue()
		if err != nil {
			return badRecord(err)
		}
		if more, err := f(key, value); err != nil || !more {
			return err
		}
	}
	if t, err := d.ReadToken(); err != nil || t.Kind() != '}' {
		return badRecord(err)
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return atoll.Errorf(atoll.BadJSON, "something follows the record on its line")
	}
	return nil
}

func badRecord(err error) error {
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return atoll.Errorf(atoll.DuplicateKey, "the record names a member twice").Because(err)
	}
	return atoll.Errorf(atoll.BadJSON, "the record is not JSON").Because(err)
}
