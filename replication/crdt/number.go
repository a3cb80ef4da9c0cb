package crdt

import (
	"bytes"
	"math/big"
	"strconv"
	"strings"
)

// Limits of the numbers that can have a counter. Without them 1e999999999
// plus one would have a thousand million digits.
const (
	maxNumberText = 512 // bytes
	maxExponent   = 400 // of ten, either way
)

// decimal is the number coef / 10^scale. A scale is never negative, and its
// size says how many digits stand behind the point.
type decimal struct {
	coef  big.Int
	scale int
}

// countable reports whether a counter can be added to the JSON text of a value:
// whether it is a number within the limits above.
func countable(text []byte) bool {
	if !isNumber(text) || len(text) > maxNumberText {
		return false
	}
	_, e, _ := cutExponent(text)
	n, err := strconv.Atoi(e)
	return e == "" || err == nil && -maxExponent <= n && n <= maxExponent
}

// isNumber reports whether the JSON text of a value is a number.
func isNumber(text []byte) bool {
	return len(text) > 0 && (text[0] == '-' || digit(text[0]))
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

func cutExponent(text []byte) (mantissa, exponent string, found bool) {
	i := bytes.IndexAny(text, "eE")
	if i < 0 {
		return string(text), "", false
	}
	return string(text[:i]), string(text[i+1:]), true
}

// parseDecimal reads the text of a countable number.
func parseDecimal(text []byte) (d decimal, ok bool) {
	mantissa, e, _ := cutExponent(text)
	whole, fraction, _ := strings.Cut(mantissa, ".")
	if _, ok := d.coef.SetString(whole+fraction, 10); !ok {
		return d, false
	}
	n, _ := strconv.Atoi(e)
	d.scale = len(fraction) - n
	if d.scale < 0 {
		d.coef.Mul(&d.coef, power(-d.scale))
		d.scale = 0
	}
	return d, true
}

// wholeNumber returns the number that the JSON text of a value is; whole is false
// when it is not an integer of 64 bits, however written.
func wholeNumber(text []byte) (n int64, whole bool) {
	if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		return n, true
	}
	if !countable(text) {
		return 0, false
	}
	d, ok := parseDecimal(text)
	if !ok {
		return 0, false
	}
	var rest big.Int
	d.coef.QuoRem(&d.coef, power(d.scale), &rest)
	return d.coef.Int64(), rest.Sign() == 0 && d.coef.IsInt64()
}

func power(n int) *big.Int {
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
}

// appendSum appends the exact sum of a countable number and a counter. The
// number keeps its text when the counter is zero, and its digits behind the
// point always.
func appendSum(dst, text []byte, counter int64) []byte {
	if counter == 0 {
		return append(dst, text...)
	}
	if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		if sum := n + counter; (sum > n) == (counter > 0) {
			return strconv.AppendInt(dst, sum, 10)
		}
	}
	d, ok := parseDecimal(text)
	if !ok {
		return append(dst, text...)
	}
	d.coef.Add(&d.coef, new(big.Int).Mul(big.NewInt(counter), power(d.scale)))
	return d.append(dst)
}

func (d *decimal) append(dst []byte) []byte {
	if d.coef.Sign() < 0 {
		dst = append(dst, '-')
	}
	digits := new(big.Int).Abs(&d.coef).String()
	if d.scale == 0 {
		return append(dst, digits...)
	}
	if zeros := d.scale + 1 - len(digits); zeros > 0 {
		digits = strings.Repeat("0", zeros) + digits
	}
	point := len(digits) - d.scale
	dst = append(dst, digits[:point]...)
	dst = append(dst, '.')
	return append(dst, digits[point:]...)
}
