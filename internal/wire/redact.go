package wire

import (
	"net/http"
	"slices"
	"strings"
)

// Redact says which parts of a message are never shown. The zero value shows
// everything.
type Redact struct {
	Body    bool     `json:"body,omitempty"`
	Headers bool     `json:"headers,omitempty"` // all of them
	Names   []string `json:"names,omitempty"`   // of headers, canonical
}

// parseRedact reads a comma list of body, header, headers, header[Name] and
// headers[Name].
func parseRedact(values []string) (r Redact, err error) {
	fields, err := splitList(values)
	if err != nil {
		return r, err
	}
	for _, field := range fields {
		what, name, ok := strings.Cut(strings.TrimSuffix(field, "]"), "[")
		if ok {
			name = strings.TrimSpace(name)
		}
		isHeader := strings.EqualFold(what, "header") || strings.EqualFold(what, "headers")
		switch {
		case strings.EqualFold(field, "body"):
			r.Body = true
		case isHeader && what == field:
			r.Headers = true
		case isHeader && ok && strings.HasSuffix(field, "]") && isToken(name):
			r.Names = append(r.Names, http.CanonicalHeaderKey(name))
		default:
			return Redact{}, errorf("", "expected a comma-separated list of body, header and header[Name], got %s", quote(field))
		}
	}
	return r, nil
}

// Any says whether anything is not shown.
func (r *Redact) Any() bool { return r.Body || r.Headers || len(r.Names) > 0 }

// Header says whether the values of a header, by its canonical name, are not
// shown.
func (r *Redact) Header(name string) bool { return r.Headers || slices.Contains(r.Names, name) }

// Union hides what either hides.
func (r Redact) Union(o Redact) Redact {
	r.Body, r.Headers = r.Body || o.Body, r.Headers || o.Headers
	r.Names = slices.Clone(r.Names)
	for _, name := range o.Names {
		if !slices.Contains(r.Names, name) {
			r.Names = append(r.Names, name)
		}
	}
	return r
}
