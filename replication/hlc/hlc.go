// Package hlc provides hybrid logical clocks: timestamps that follow wall time
// and never run backwards at one node.
//
// The layout is 48 bits of milliseconds since 1970 above a 16-bit counter, so
// times compare as integers (Kulkarni et al., "Logical Physical Clocks", 2014).
// Causality is decided by dots; a Time only breaks ties between concurrent
// values and says when something was written.
package hlc

import "time"

// Time is a hybrid timestamp. The zero Time is before all others.
type Time uint64

// MaxAhead is how far a remote time may be ahead of the wall clock and still
// pull a Clock forward. A time further ahead is kept with its value but changes
// no clock, so that one wrong clock cannot drag the others along.
const MaxAhead = 500 * time.Millisecond

const counterBits = 16

// At returns the first Time of the millisecond in which t lies.
func At(t time.Time) Time {
	ms := t.UnixMilli()
	if ms < 0 {
		return 0
	}
	return Time(uint64(ms) << counterBits)
}

// Wall returns the millisecond of t, in UTC.
func (t Time) Wall() time.Time { return time.UnixMilli(t.Millis()).UTC() }

// Millis returns milliseconds since 1970.
func (t Time) Millis() int64 { return int64(t >> counterBits) }

// Clock issues times. The zero Clock is ready; it is not safe for concurrent use.
type Clock struct{ last Time }

// Now returns a time later than every time that c has issued or observed, at
// or after now.
func (c *Clock) Now(now time.Time) Time {
	c.last = max(c.last+1, At(now))
	return c.last
}

// Observe makes later times of c follow t, unless t is more than MaxAhead
// ahead of now. It reports whether t was followed.
func (c *Clock) Observe(t Time, now time.Time) bool {
	if t > At(now.Add(MaxAhead)) {
		return false
	}
	c.last = max(c.last, t)
	return true
}
