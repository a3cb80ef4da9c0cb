package api

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/atolledge/atoll"
)

// maxRecord is the most bytes of one line or array element of an import: a
// request document, and room for the key and the etag of an export line.
const maxRecord = MaxDocument + 4<<10

// record is one line of NDJSON, or one element of a JSON array.
type record struct {
	number int    // from 1; of the line, or of the element
	text   []byte // owned by the receiver, without space around it
	err    error  // why there is no text
}

// splitter cuts a stream into records and holds one of them at a time. It
// knows strings and brackets and nothing else of JSON: what is in a record is
// for its reader to judge, so that a bad one costs only itself.
type splitter struct {
	in     *bufio.Reader
	array  bool
	ended  bool // the array's "]" was read
	comma  bool // the record before ended with a comma: the array has another
	number int
	text   []byte
	over   bool // text would be longer than maxRecord
}

// newSplitter looks at the first byte: "[" begins a JSON array, all else is
// NDJSON (a document is an object, so no line begins so).
func newSplitter(r io.Reader) (*splitter, error) {
	s := &splitter{in: bufio.NewReaderSize(r, 64<<10)}
	for {
		c, err := s.in.ReadByte()
		switch {
		case err == io.EOF:
			return s, nil
		case err != nil:
			return nil, err
		case c == '\n':
			s.number++ // an empty first line is a line
		case c == ' ' || c == '\t' || c == '\r':
		case c == '[':
			s.array, s.number = true, 0
			return s, nil
		default:
			return s, s.in.UnreadByte()
		}
	}
}

// next returns the next record that is not blank, io.EOF after the last one,
// and other errors when the stream cannot be read on.
func (s *splitter) next() (record, error) {
	for {
		more, err := s.cut()
		if err != nil {
			return record{}, err
		}
		if rec, ok := s.record(more); ok {
			return rec, nil
		}
		if !more {
			return record{}, s.end()
		}
	}
}

// cut gathers the text of the next record in s.text; more says that something
// follows it.
func (s *splitter) cut() (more bool, err error) {
	s.text, s.over = s.text[:0], false
	if s.array {
		return s.cutElement()
	}
	for {
		piece, err := s.in.ReadSlice('\n')
		s.take(bytes.TrimSuffix(piece, []byte("\n")))
		switch {
		case err == nil:
			s.number++
			return true, nil
		case err == io.EOF:
			s.number++
			return false, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return false, err
		}
	}
}

// cutElement reads up to the comma or bracket that ends an element.
func (s *splitter) cutElement() (more bool, err error) {
	if s.ended {
		return false, nil
	}
	s.number++
	depth, quoted, escaped := 0, false, false
	for {
		c, err := s.in.ReadByte()
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		switch {
		case escaped:
			escaped = false
		case quoted:
			escaped, quoted = c == '\\', c != '"'
		case c == '"':
			quoted = true
		case c == '{' || c == '[':
			depth++
		case c == ',' && depth == 0:
			return true, nil
		case c == ']' && depth == 0:
			s.ended = true
			return false, nil
		case (c == '}' || c == ']') && depth > 0:
			depth--
		}
		s.takeByte(c)
	}
}

func (s *splitter) take(p []byte) {
	if s.over = s.over || len(s.text)+len(p) > maxRecord; !s.over {
		s.text = append(s.text, p...)
	}
}

func (s *splitter) takeByte(c byte) {
	if s.over = s.over || len(s.text) >= maxRecord; !s.over {
		s.text = append(s.text, c)
	}
}

// record turns what was cut into a record; a blank one is none, except between
// the commas of an array.
func (s *splitter) record(more bool) (record, bool) {
	text := bytes.Trim(s.text, " \t\r\n")
	missing := s.array && (more || s.comma)
	s.comma = more
	switch {
	case s.over:
		return record{number: s.number, err: tooLarge(MaxDocument)}, true
	case len(text) > 0:
		return record{number: s.number, text: bytes.Clone(text)}, true
	case missing:
		return record{number: s.number, err: atoll.Errorf(atoll.BadJSON, "an element is missing")}, true
	}
	return record{}, false
}

// end returns io.EOF, or what is wrong with the end of an array.
func (s *splitter) end() error {
	if !s.array {
		return io.EOF
	}
	if !s.ended {
		return atoll.Errorf(atoll.BadJSON, "the array does not end with \"]\"")
	}
	for {
		c, err := s.in.ReadByte()
		if err != nil {
			return err
		}
		if !bytes.ContainsRune([]byte(" \t\r\n"), rune(c)) {
			return atoll.Errorf(atoll.BadJSON, "something follows the array")
		}
	}
}
