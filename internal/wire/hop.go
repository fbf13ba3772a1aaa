package wire

import (
	"net/http"
	"strconv"
)

// MaxHops is how many messages may follow from one another: a message, what is
// published in answer to its delivery, the callback of that, and so on. More is
// a loop.
const MaxHops = 16

// RequestHop is the Hop of what a request of several messages publishes: one
// more than that of the delivery which the request is, or answers; 0 if it has
// no Upstash-Hop. The error is an *Error.
func RequestHop(h http.Header) (int, error) {
	values := h[HeaderHop]
	if len(values) == 0 {
		return 0, nil
	}
	hop, err := parseHop(values[0])
	return hop, Within(HeaderHop, err)
}

func parseHop(v string) (int, error) {
	n, err := strconv.ParseUint(v, 10, 16)
	if err != nil {
		return 0, errorf("", "expected that of a delivery, a whole number, got %s", quote(v))
	}
	return int(n) + 1, nil
}

// hop reads the Upstash-Hop of the delivery that this is published in answer to.
// Of several the greatest counts, so that none can lower it.
func (p *configParser) hop(v string) error {
	hop, err := parseHop(v)
	p.Hop = max(p.Hop, hop)
	return err
}
