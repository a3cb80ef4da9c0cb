package geodns

import (
	"encoding/binary"
	"net/netip"
)

// Codes of the wire (IANA DNS parameters) that the server tells apart.
const (
	typeA      = 1
	typeNS     = 2
	typeSOA    = 6
	typeHINFO  = 13
	typeTXT    = 16
	typeAAAA   = 28
	typeOPT    = 41
	typeHTTPS  = 65
	typeIXFR   = 251
	typeAXFR   = 252
	typeANY    = 255
	typeCAA    = 257
	classIN    = 1
	opQuery    = 0
	optionECS  = 8
	noError    = 0
	formErr    = 1
	servFail   = 2
	nxDomain   = 3
	notImp     = 4
	refused    = 5
	badVers    = 16
	headerLen  = 12
	maxName    = 255  // bytes of a name on the wire
	maxLabel   = 63   // bytes of a label
	minUDP     = 512  // what everyone can take (RFC 1035)
	maxUDP     = 1232 // what no path breaks into pieces (DNS flag day 2020)
	maxQuery   = 4096 // bytes of a query that we read from UDP
	maxMessage = 65535
)

// query is one query, taken apart.
type query struct {
	id         uint16
	opcode     byte
	rd, cd     bool
	asked      bool   // there is a question
	shown      string // the name as asked for, letters as they came (0x20)
	name       string // the same in lower case
	typ, class uint16

	edns    bool
	version byte
	do      bool
	size    uint16 // UDP payload that the client can take
	ecs     *subnet
}

// subnet is an EDNS client subnet option (RFC 7871). The prefix is not valid
// for family 0, which may only be empty.
type subnet struct {
	family uint16
	prefix netip.Prefix // masked; /0: the client wants to stay private
}

// udpLimit returns how long an answer by UDP may be.
func (q *query) udpLimit() int {
	if !q.edns {
		return minUDP
	}
	return min(max(int(q.size), minUDP), maxUDP)
}

// verdict is what parse makes of a packet.
type verdict int

const (
	sound     verdict = iota
	malformed         // FORMERR
	foreign           // another opcode: NOTIMP
	// The rest get no answer.
	dropShort
	dropResponse
	dropGarbage
	verdicts
)

// parse reads a query. It is strict: one question without compression, no
// answer, at most one OPT, nothing behind. Answers are never answered (a loop
// between servers), nor is what does not even hold a question (noise).
func parse(p []byte) (q query, v verdict) {
	if len(p) < headerLen {
		return q, dropShort
	}
	if p[2]&0x80 != 0 {
		return q, dropResponse
	}
	q.id = binary.BigEndian.Uint16(p)
	q.opcode, q.rd, q.cd = p[2]>>3&15, p[2]&1 != 0, p[3]&0x10 != 0
	if binary.BigEndian.Uint16(p[4:]) != 1 {
		return q, q.judge(false)
	}
	rest, ok := q.question(p[headerLen:])
	if !ok && q.opcode == opQuery {
		return q, dropGarbage
	}
	none := binary.BigEndian.Uint32(p[6:]) == 0 // answer and authority
	more := int(binary.BigEndian.Uint16(p[10:]))
	return q, q.judge(ok && none && q.additional(rest, more))
}

// judge tells what to make of a packet that is in order, or is not.
func (q *query) judge(ok bool) verdict {
	switch {
	case q.opcode != opQuery:
		return foreign
	case ok:
		return sound
	}
	return malformed
}

// question reads the question and returns what is behind.
func (q *query) question(p []byte) ([]byte, bool) {
	var shown, name [4 * maxName]byte
	at, n := 0, 0
	for {
		if at >= len(p) || p[at] > maxLabel || at+int(p[at]) >= maxName {
			return nil, false
		}
		label := p[at+1:]
		size := int(p[at])
		if at += 1 + size; size == 0 {
			break
		}
		if size > len(label) {
			return nil, false
		}
		for _, c := range label[:size] {
			n = escape(&shown, &name, n, c)
		}
		shown[n], name[n] = '.', '.'
		n++
	}
	if len(p) < at+4 {
		return nil, false
	}
	if n == 0 {
		shown[0], name[0], n = '.', '.', 1
	}
	q.shown, q.name, q.asked = string(shown[:n]), string(name[:n]), true
	q.typ, q.class = binary.BigEndian.Uint16(p[at:]), binary.BigEndian.Uint16(p[at+2:])
	return p[at+4:], true
}

// escape writes one byte of a label at n: letters, digits, "-" and "_" as they
// are, in lower case in name; all others as \DDD (RFC 1035 5.1). One byte
// takes four at most, so names of 255 bytes fit.
func escape(shown, name *[4 * maxName]byte, n int, c byte) int {
	switch {
	case c >= 'A' && c <= 'Z':
		shown[n], name[n] = c, c+'a'-'A'
		return n + 1
	case c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_':
		shown[n], name[n] = c, c
		return n + 1
	}
	d := [4]byte{'\\', '0' + c/100, '0' + c/10%10, '0' + c%10}
	copy(shown[n:], d[:])
	copy(name[n:], d[:])
	return n + 4
}

// additional reads the records behind the question: OPT, and others unread.
func (q *query) additional(p []byte, count int) bool {
	for range count {
		at, ok := skipName(p)
		if !ok || len(p) < at+10 {
			return false
		}
		typ, size := binary.BigEndian.Uint16(p[at:]), int(binary.BigEndian.Uint16(p[at+8:]))
		if len(p) < at+10+size {
			return false
		}
		if typ == typeOPT && (q.edns || at != 1 || !q.opt(p[at:], p[at+10:at+10+size])) {
			return false
		}
		p = p[at+10+size:]
	}
	return len(p) == 0
}

// skipName returns the length of a name that may end in a pointer.
func skipName(p []byte) (int, bool) {
	for at := 0; at < len(p) && at < maxName; at += 1 + int(p[at]) {
		switch {
		case p[at] == 0:
			return at + 1, true
		case p[at]&0xc0 == 0xc0:
			return at + 2, true
		case p[at] > maxLabel:
			return 0, false
		}
	}
	return 0, false
}

// opt reads an OPT record (RFC 6891): fixed is what follows its name. The
// options of a version that we do not know stay unread.
func (q *query) opt(fixed, options []byte) bool {
	q.edns = true
	q.size = binary.BigEndian.Uint16(fixed[2:])
	q.version, q.do = fixed[5], fixed[6]&0x80 != 0
	if q.version != 0 {
		return true
	}
	for len(options) > 0 {
		if len(options) < 4 {
			return false
		}
		code, size := binary.BigEndian.Uint16(options), int(binary.BigEndian.Uint16(options[2:]))
		if len(options) < 4+size {
			return false
		}
		if code == optionECS && (q.ecs != nil || !q.subnet(options[4:4+size])) {
			return false
		}
		options = options[4+size:]
	}
	return true
}

// subnet reads a client subnet option: scope 0, just the bytes that the source
// length needs, no bit behind it (RFC 7871 6 and 7.1.2).
func (q *query) subnet(p []byte) bool {
	if len(p) < 4 || p[3] != 0 {
		return false
	}
	family, bits, addr := binary.BigEndian.Uint16(p), int(p[2]), p[4:]
	if len(addr) != (bits+7)/8 {
		return false
	}
	s := &subnet{family: family}
	switch family {
	case 0:
		if bits != 0 {
			return false
		}
	case 1:
		var a [4]byte
		if bits > 32 {
			return false
		}
		copy(a[:], addr)
		s.prefix = netip.PrefixFrom(netip.AddrFrom4(a), bits)
	case 2:
		var a [16]byte
		if bits > 128 {
			return false
		}
		copy(a[:], addr)
		s.prefix = netip.PrefixFrom(netip.AddrFrom16(a), bits)
	default:
		return false
	}
	q.ecs = s
	return s.prefix == s.prefix.Masked()
}
