package wire

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// checkText refuses what neither an HTTP header nor a text column can carry:
// control characters (tab excepted) and bytes that are not UTF-8. It does not
// echo the text, which may be a secret.
func checkText(s string) error {
	ascii := true
	for i := range len(s) {
		switch b := s[i]; {
		case b < ' ' && b != '\t', b == 0x7f:
			return errorf("", "expected text without control characters, got byte 0x%02x at position %d", b, i+1)
		case b >= utf8.RuneSelf:
			ascii = false
		}
	}
	if !ascii && !utf8.ValidString(s) {
		return errorf("", "expected UTF-8 text, got other bytes")
	}
	return nil
}

// checkField refuses a header that cannot be sent or stored.
func checkField(name string, values []string) error {
	if !isToken(name) {
		return errorf("", "expected a header name, got %s", quoteName(name))
	}
	for _, v := range values {
		if err := checkText(v); err != nil {
			return err
		}
	}
	return nil
}

// checkRunID allows what survives, unescaped, as a header value, as a segment
// of a path and as an element of a comma list: clients put run ids into all
// three as they are.
func checkRunID(id string) error {
	if id == "" || len(id) > MaxRunIDBytes {
		return errorf("", "expected an id of 1 to %d bytes, got %d", MaxRunIDBytes, len(id))
	}
	printable := func(r rune) bool { return ' ' <= r && r <= '~' }
	odd := strings.ContainsFunc(id, func(r rune) bool { return !printable(r) })
	if odd || strings.ContainsAny(id, `/\?#%,`) || id == "." || id == ".." {
		return errorf("", `expected printable ASCII without / \ ? # %% and comma, got %s`, quote(id))
	}
	return nil
}

// isToken reports whether s is a valid header name (RFC 9110 §5.6.2).
func isToken(s string) bool {
	return s != "" && tokenEnd(s) == len(s)
}

// tokenEnd is where s goes on with what no header name has.
func tokenEnd(s string) int {
	for i := range len(s) {
		if b := s[i]; !isNameByte(b) && !strings.ContainsRune("!#$%&'*+^`|~", rune(b)) {
			return i
		}
	}
	return len(s)
}

// isLabel reports whether s is [A-Za-z0-9._-]+, the grammar of labels.
func isLabel(s string) bool {
	for i := range len(s) {
		if !isNameByte(s[i]) {
			return false
		}
	}
	return s != ""
}

// isName is isLabel for names that stand in paths: queues, URL groups,
// schedules. Clients take "." and ".." out of a path.
func isName(s string) bool { return isLabel(s) && s != "." && s != ".." && len(s) <= MaxNameBytes }

func isNameByte(b byte) bool {
	return isDigit(b) || b == '.' || b == '_' || b == '-' || 'a' <= b|0x20 && b|0x20 <= 'z'
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }

// hasPrefixFold is strings.HasPrefix without regard to ASCII case.
func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// quoteName is quote for what should be a header name. What follows the part
// that could be one may be a value, and so a secret: "Authorization: Bearer …".
func quoteName(s string) string {
	if end := tokenEnd(s); end < len(s) {
		return fmt.Sprintf("%s with byte 0x%02x at position %d", quote(s[:end]), s[end], end+1)
	}
	return quote(s)
}

// quote makes user input fit for an error message: escaped and not long. It is
// for what is no secret: settings, not URLs, and not values of headers that are
// forwarded.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.Quote(strings.ToValidUTF8(s[:most], "")) + "…"
	}
	return strconv.Quote(s)
}
