package wire

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRedact(t *testing.T) {
	for in, want := range map[string]Redact{
		"":                                 {},
		" , ":                              {},
		"body":                             {Body: true},
		"Body, HEADER":                     {Body: true, Headers: true},
		"headers":                          {Headers: true},
		"header[x-api-key],headers[ ETag]": {Names: []string{"X-Api-Key", "Etag"}},
		"body,header[a],header":            {Body: true, Headers: true, Names: []string{"A"}},
	} {
		c, err := ParseConfig(headers("Upstash-Redact-Fields: " + in))
		if diff := cmp.Diff(want, c.Redact); err != nil || diff != "" {
			t.Errorf("%q: %v (-want +got)\n%s", in, err, diff)
		}
		if c.Redact.Any() != (want.Body || want.Headers || want.Names != nil) {
			t.Errorf("%q: Any is %v", in, c.Redact.Any())
		}
	}
	a, b := Redact{Names: []string{"A", "B"}}, Redact{Body: true, Names: []string{"B", "C"}}
	if diff := cmp.Diff(Redact{Body: true, Names: []string{"A", "B", "C"}}, a.Union(b)); diff != "" || len(a.Names) != 2 {
		t.Error(diff)
	}
	if !a.Header("B") || a.Header("C") || !(&Redact{Headers: true}).Header("C") {
		t.Error("Header")
	}
}

// What is taken hides what it names: nothing is read as something else.
func FuzzRedact(f *testing.F) {
	for _, seed := range []string{"body", "header[X]", "headers[a],body", "header[[x]]", "header[]", "body]", "header[a", "header[a]b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		r, err := parseRedact([]string{in})
		if err != nil {
			return
		}
		for _, name := range r.Names {
			if !isToken(name) || !r.Header(name) {
				t.Errorf("%q hides %q", in, name)
			}
		}
		if again := r.Union(r); again.Any() != r.Any() {
			t.Errorf("%q", in)
		}
	})
}

func TestHop(t *testing.T) {
	for _, test := range []struct {
		in   []string
		want int
	}{
		{nil, 0},
		{[]string{"Upstash-Hop: 0"}, 1},
		{[]string{"Upstash-Hop: 16"}, 17},
		{[]string{"Upstash-Hop: 3", "Upstash-Forward-Upstash-Hop: 1"}, 4},
		{[]string{"Upstash-Forward-Upstash-Hop: 5"}, 6},
		{[]string{"Upstash-Hop: 0", "Upstash-Forward-Upstash-Hop: 5"}, 6},
		{[]string{"Upstash-Forward-Upstash-Hop: what"}, 0},
		{[]string{"Upstash-Callback: http://x/", "Upstash-Callback-Hop: 9", "Upstash-Callback-Forward-Upstash-Hop: 9"}, 0},
	} {
		c, err := ParseConfig(headers(test.in...))
		if err != nil || c.Hop != test.want || c.Header != nil {
			t.Errorf("%q: hop %d, headers %v, %v", test.in, c.Hop, c.Header, err)
		}
	}
	if hop, err := RequestHop(headers("Upstash-Hop: 2")); hop != 3 || err != nil {
		t.Error(hop, err)
	}
	if _, err := RequestHop(headers("Upstash-Hop: two")); err == nil || err.Error() != `Upstash-Hop: expected that of a delivery, a whole number, got "two"` {
		t.Error(err)
	}
}
