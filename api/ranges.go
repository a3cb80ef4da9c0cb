package api

import (
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/atolledge/atoll"
)

// plainRange says the Range of a request in words that http.ServeContent takes
// for what they mean in RFC 9110, section 14. It refuses absurdly many ranges, as
// section 14.2 allows: each of them may cost a chunk.
func plainRange(q *request) error {
	values := q.Header.Values("Range")
	if len(values) == 0 {
		return nil
	}
	plain := rangeOf(q.Method, values[0])
	if plain == "" {
		q.Header.Del("Range")
		return nil
	}
	if len(values) > 1 || strings.Count(plain, ",") >= MaxRanges {
		return &statusError{atoll.Errorf(atoll.BadRequest, "too many ranges").
			WithLimit("ranges", MaxRanges), http.StatusRequestedRangeNotSatisfiable}
	}
	q.Header.Set("Range", plain)
	return nil
}

// rangeOf returns a Range as plainRange wants it, "" for one that is to be
// ignored: of another unit than bytes, or with another method than GET.
func rangeOf(method, value string) string {
	unit, list, _ := strings.Cut(value, "=")
	if method != http.MethodGet || !strings.EqualFold(strings.TrimSpace(unit), "bytes") {
		return ""
	}
	specs := strings.Split(list, ",")
	for i, spec := range specs {
		spec = strings.Trim(spec, " \t")
		first, last, ok := strings.Cut(spec, "-")
		switch {
		case !ok:
		case first == "" && last != "" && strings.Trim(last, "0") == "":
			spec = beyond + "-" // the last 0 bytes: not to be satisfied
		default:
			spec = position(first) + "-" + position(last)
		}
		specs[i] = spec
	}
	return "bytes=" + strings.Join(specs, ",")
}

// beyond is a position behind the end of every object.
var beyond = strconv.FormatInt(math.MaxInt64, 10)

// position returns a number of any length as one that fits.
func position(digits string) string {
	if _, err := strconv.ParseUint(digits, 10, 63); digits != "" && err != nil &&
		strings.Trim(digits, "0123456789") == "" {
		return beyond
	}
	return digits
}
