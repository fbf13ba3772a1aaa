package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
)

// A destination comes out of a request target as it went in, in either form
// of target; whatever comes in, no target breaks the router.
func FuzzTarget(f *testing.F) {
	for _, tail := range []string{"https://example.com/a?b", "", "https:/x//y/../z", "a%2Fb?", "?x=%zz", "http://[::1]:1/|\xff"} {
		f.Add(tail)
	}
	f.Fuzz(func(t *testing.T, tail string) {
		if strings.ContainsAny(tail, " \r\n") {
			return // a request line can't hold it
		}
		target := "/v2/publish/" + tail
		want, wantQuery, _ := strings.Cut(tail, "?")
		for _, uri := range []string{target, "http://host:1" + target} {
			path, query := splitURI(&http.Request{RequestURI: uri})
			found, params, _ := find("POST", path)
			if found == nil || found.pattern != "/v2/publish/{destination...}" || params[0] != want || query != wantQuery {
				t.Errorf("%q: %v %q %q", uri, found, params, query)
			}
		}
		find("GET", tail)
		splitURI(&http.Request{RequestURI: tail})
	})
}

// The JSON body of a bulk operation is read as filters or refused as invalid;
// an operation on a selection is never one on everything.
func FuzzFilterBody(f *testing.F) {
	for _, body := range []string{`{"messageIds":["msg_1","msg_2"],"count":5}`, `{"messageIds":[]}`, `{"label":null}`, `{"label":""}`, `[]`, "", " ", `{"a":{"b":1}}`, `{"messageIds":[" ,"]}`,
		`{"label":"x","label":null}`, `{}{"label":"x"}`, `{"label":"","messageIds":["a"]}`, `null`} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		r := &request{Request: httptest.NewRequest("DELETE", "/v2/messages", strings.NewReader(body)), writer: httptest.NewRecorder(), query: url.Values{}}
		filters, err := r.filters(true, "messageIds", "label", "count")
		if err != nil {
			if engine.ErrorCode(err) != engine.Invalid {
				t.Errorf("%q: %v", body, err)
			}
			return
		}
		if _, given := filters.Values["messageIds"]; given && len(filters.list("messageIds")) == 0 {
			t.Errorf("%q selects nothing and is not refused", body)
		}
		var fields map[string]any
		if strings.TrimSpace(body) != "" && json.Unmarshal([]byte(body), &fields) != nil {
			t.Errorf("%q is taken for an object", body)
		}
		if delete(fields, "count"); len(fields) > 0 && !filters.selective() {
			t.Errorf("%q selects everything", body)
		}
	})
}
