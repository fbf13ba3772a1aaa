package intake

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// plainText is how net/http's own answers, to what it can't parse, go on after
// the status line.
const plainText = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"

// unexpected is how its answer to an Expect that it does not know begins; it ends
// in noBody.
const (
	unexpected = "HTTP/1.1 417 Expectation Failed\r\n"
	noBody     = "\r\nContent-Length: 0\r\n\r\n"
)

// inJSON is the same answer in JSON, as clients of the API expect all errors;
// nil for what is not one of net/http's own. Those hold nothing of the request.
func inJSON(answer []byte) []byte {
	const longest = 512
	switch {
	case len(answer) > longest:
		return nil
	case bytes.HasPrefix(answer, []byte(unexpected)) && bytes.HasSuffix(answer, []byte(noBody)):
		return refusal(http.StatusExpectationFailed, "expected no Expect but 100-continue")
	case !bytes.Contains(answer, []byte(plainText)):
		return nil
	}
	line, text, _ := strings.Cut(string(answer), plainText)
	rest, ok := strings.CutPrefix(line, "HTTP/1.1 ")
	code, _, _ := strings.Cut(rest, " ")
	status, err := strconv.Atoi(code)
	if !ok || err != nil || status < 400 || status > 599 || strings.Contains(line, "\r\n") {
		return nil
	}
	message := "expected well-formed HTTP/1.1"
	if status == http.StatusRequestHeaderFieldsTooLarge {
		message = fmt.Sprintf("expected at most %d bytes of request line and headers", MaxHeaderBytes)
	} else if _, detail, ok := strings.Cut(text, ": "); ok {
		message += ", got: " + detail
	} else if !strings.HasPrefix(text, code) {
		message += ", got: " + text
	}
	return refusal(status, message)
}

func refusal(status int, message string) []byte {
	body, _ := json.Marshal(map[string]string{"error": "request: " + message})
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		status, http.StatusText(status), len(body), body)
}
