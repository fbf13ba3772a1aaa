package e2e_test

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/receiver"
)

// cloud makes a server look like Upstash's to the Go SDK: between them goes what
// Upstash's API documents, and nothing else. What the SDK says besides fails the
// test; what the server says besides is left out, and what is documented to vary
// does.
type cloud struct {
	t      *testing.T
	url    string // where the server's API is
	server *url.URL
	real   *receiver.Receiver // of what the server sends
	keys   [2]string          // that deliveries are signed with, in turn
	turn   atomic.Int64

	transport http.RoundTripper // to the server

	mu   sync.Mutex
	seen map[string]int // routes, and kinds of deliveries
}

func newCloud(t *testing.T, s *server) *cloud {
	t.Helper()
	at, err := url.Parse(s.env["QSTASH_URL"])
	if err != nil {
		t.Fatal(err)
	}
	c := &cloud{t: t, server: at, seen: map[string]int{}, keys: [2]string{"sig_" + rand.Text(), "sig_" + rand.Text()}}
	c.real, err = receiver.New(receiver.Options{
		CurrentSigningKey: s.env["QSTASH_CURRENT_SIGNING_KEY"], NextSigningKey: s.env["QSTASH_NEXT_SIGNING_KEY"],
		Development: true, RequireBinding: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	t.Cleanup(transport.CloseIdleConnections)
	c.transport = transport
	api := httptest.NewServer(http.HandlerFunc(c.api))
	t.Cleanup(api.Close)
	c.url = api.URL
	return c
}

// platform is the cloud's, for endpoints and programs that know nothing but an address,
// written as people do, a token and the keys.
func (c *cloud) platform(s *server, suffix string) platform {
	c.t.Helper()
	rc, err := receiver.New(receiver.Options{CurrentSigningKey: c.keys[0], NextSigningKey: c.keys[1]})
	if err != nil {
		c.t.Fatal(err)
	}
	made := client.New(client.Options{URL: c.url + suffix, Token: s.env["QSTASH_TOKEN"]})
	c.t.Cleanup(made.CloseIdleConnections)
	return platform{client: made, receiver: rc, around: c.around}
}

// next counts, so that what may vary does.
func (c *cloud) next() int64 { return c.turn.Add(1) }

func (c *cloud) saw(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[what]++
}

// wrong is about what the Go SDK said.
func (c *cloud) wrong(r *http.Request, about string) {
	c.t.Errorf("%s %.200s: %s", r.Method, r.RequestURI, about)
}

// api passes calls of the API on to the server.
func (c *cloud) api(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // the caller has gone
	}
	asked, wrong := checkCall(r, body)
	c.saw(asked.pattern)
	for _, about := range wrong {
		c.wrong(r, about)
	}
	(&httputil.ReverseProxy{
		Transport: c.transport,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL = &url.URL{Scheme: c.server.Scheme, Host: c.server.Host, Opaque: r.RequestURI}
			p.Out.Body, p.Out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		},
		ModifyResponse: func(resp *http.Response) error { return c.answer(asked, resp) },
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:       slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}).ServeHTTP(w, r)
}

// checkCall is the route of a call of the API, and what is not documented about the
// call.
func checkCall(r *http.Request, body []byte) (asked route, wrong []string) {
	path, query, _ := strings.Cut(r.RequestURI, "?")
	if webhook.MatchString(path) {
		return route{pattern: "webhook"}, nil
	}
	asked, parts, ok := routeOf(r.Method, path)
	if !ok {
		return asked, []string{"route is not documented"}
	}
	add := func(err error) {
		if err != nil {
			wrong = append(wrong, err.Error())
		}
	}
	if parts["destination"] == "" { // whose query it is
		add(asked.checkQuery(query))
	}
	if token := r.Header.Get("Authorization"); !strings.HasPrefix(token, "Bearer ") {
		add(fmt.Errorf("Authorization %q", token))
	}
	for name, values := range r.Header {
		if !strings.HasPrefix(name, "Upstash-") {
			switch name {
			case "Authorization", "Content-Type", "Content-Length", "User-Agent", "Accept-Encoding":
			default:
				add(fmt.Errorf("header %s is not documented", name))
			}
			continue
		}
		for _, v := range values {
			add(asked.header.check(name, v))
		}
	}
	switch of := asked.body.(type) {
	case nil:
		if len(body) > 0 {
			add(fmt.Errorf("body is not documented: %.100q", body))
		}
	case bytesAsTheyAre:
		if destination := parts["destination"]; destination != "" {
			if query != "" {
				destination += "?" + query
			}
			wrong = append(wrong, checkMessage(destination, r.Header.Get, body)...)
		}
	default:
		v, err := decodeJSON(body)
		if err != nil {
			return asked, append(wrong, err.Error())
		}
		_, unknown := documented(v, of, "body")
		wrong = append(wrong, unknown...)
		if asked.pattern == "POST /v2/batch" {
			wrong = append(wrong, checkBatch(v)...)
		}
	}
	return asked, wrong
}

// checkBatch looks at the items of a batch as at messages.
func checkBatch(v any) (wrong []string) {
	items, _ := v.([]any)
	for i := range items {
		item, _ := items[i].(map[string]any)
		headers, _ := item["headers"].(map[string]any)
		for name, value := range headers {
			text, _ := value.(string)
			err := publishing.check(name, text)
			if lower := strings.ToLower(name); err == nil && (name != lower || !strings.HasPrefix(lower, "upstash-") && lower != "content-type") {
				err = fmt.Errorf("header %s is not documented in a batch", name)
			}
			if err != nil {
				wrong = append(wrong, fmt.Sprintf("[%d]: %v", i, err))
			}
		}
		get := func(name string) string { value, _ := headers[strings.ToLower(name)].(string); return value }
		destination, _ := item["destination"].(string)
		body, _ := item["body"].(string)
		for _, w := range checkMessage(destination, get, []byte(body)) {
			wrong = append(wrong, fmt.Sprintf("[%d]: %s", i, w))
		}
	}
	return wrong
}

// checkMessage looks at what an endpoint publishes for its run.
func checkMessage(destination string, get func(string) string, body []byte) []string {
	var of any
	switch run := get("Upstash-Workflow-RunId"); {
	case run == "":
		return nil // of no run
	case get("Upstash-Workflow-Invoke") != "":
		of = invocation
	case get("Upstash-Workflow-Init") == "true", get("Upstash-Workflow-CallType") == "toCallback":
		return nil // the body is a user's
	case get("Upstash-Workflow-Init") != "false" || get("Upstash-Workflow-Url") != destination:
		return []string{"a step is neither of its run, nor the start of one"}
	default:
		of = stepBody
	}
	v, err := decodeJSON(body)
	if err != nil {
		return []string{err.Error()}
	}
	_, wrong := documented(v, of, "body")
	return wrong
}

func decodeJSON(data []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber() // as it is
	if err = d.Decode(&v); err != nil {
		err = fmt.Errorf("decode %.100q: %w", data, err)
	}
	return v, err
}

// answer leaves of an answer what is documented, and varies the rest.
func (c *cloud) answer(asked route, resp *http.Response) error {
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	header := http.Header{"X-Future": {"1"}}
	for name, values := range resp.Header {
		if name == "Content-Type" || strings.Contains(name, "Ratelimit-") {
			header[strings.ToLower(name)] = values // as HTTP/2 spells them
		}
	}
	resp.Header, resp.TransferEncoding = header, nil
	success := resp.StatusCode/100 == 2
	switch of := asked.answer; {
	case success && of == nil: // nobody looks at it
		body = nil
	case !success:
		of = refusal
		fallthrough
	default:
		if body, err = c.rewrite(body, of); err != nil {
			return err
		}
	}
	if success && asked.header != nil {
		resp.StatusCode = []int{200, 201, 202}[c.next()%3] // all of which are on record
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	header.Del("Content-Length")
	return nil
}

func (c *cloud) rewrite(body []byte, of any) ([]byte, error) {
	v, err := decodeJSON(body)
	if err != nil {
		return nil, err
	}
	v, _ = documented(v, of, "answer")
	if choice, ok := of.(either); ok && c.next()%2 == 0 {
		v = other(v, choice)
	}
	return json.Marshal(future(v))
}

// other is an answer about one thing as an array, or the reverse.
func other(v any, choice either) any {
	many, isMany := v.([]any)
	if !isMany || len(many) != 1 || !choice.varies {
		return v
	}
	if _, isObject := many[0].(map[string]any); !isObject { // what was published to a group
		return v
	}
	return many[0]
}

// future is v with fields that nobody knows yet.
func future(v any) any {
	switch v := v.(type) {
	case map[string]any:
		v["futureField"] = []any{map[string]any{"a": 1}}
	case []any:
		for i := range v {
			v[i] = future(v[i])
		}
	}
	return v
}

// plainHeaders are those of deliveries that are not Upstash's own: users forward
// the latter ones in these tests.
var plainHeaders = []string{"Content-Type", "Authorization", "X-Child", "X-User"}

// around is a workflow endpoint as Upstash calls it.
func (c *cloud) around(endpoint http.Handler) http.Handler { return c.calling(endpoint, c.checkAnswer) }

// receiving is a handler behind a receiver as Upstash calls it.
func (c *cloud) receiving(handler http.Handler) http.Handler {
	return c.calling(handler, func(r *http.Request, out *httptest.ResponseRecorder) {
		for name := range out.Header() {
			if strings.HasPrefix(name, "Upstash-") {
				c.wrong(r, "header "+name+" of an answer")
			}
		}
	})
}

func (c *cloud) calling(next http.Handler, check func(*http.Request, *httptest.ResponseRecorder)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, claims, err := c.real.VerifyRequest(r)
		if refused := (*receiver.VerifyError)(nil); errors.As(err, &refused) {
			c.wrong(r, err.Error())
		}
		if err != nil {
			panic(http.ErrAbortHandler) // cut off, or not of the server
		}
		c.saw("a delivery of the kind " + string(claims.Kind))
		in, err := c.delivery(r, claims, body)
		if err != nil {
			c.wrong(r, err.Error())
			panic(http.ErrAbortHandler)
		}
		out := httptest.NewRecorder()
		next.ServeHTTP(out, in)
		check(r, out)
		c.saw(fmt.Sprint("an answer ", out.Code))
		maps.Copy(w.Header(), out.Header())
		w.WriteHeader(out.Code)
		w.Write(out.Body.Bytes())
	})
}

// delivery is a delivery of the server as Upstash makes it.
func (c *cloud) delivery(r *http.Request, claims receiver.Claims, body []byte) (*http.Request, error) {
	n := c.next()
	header := http.Header{"Upstash-Region": {"EU-CENTRAL-1"}, "Upstash-Future": {"1"}, "X-Future": {"1"}}
	for name, values := range r.Header {
		setting, isUpstash := strings.CutPrefix(strings.ToLower(name), "upstash-")
		if isUpstash && delivered[setting] != nil || !isUpstash && slices.Contains(plainHeaders, name) {
			header[name] = values
		}
	}
	if n%2 == 0 {
		delete(header, "Upstash-Workflow-Init") // which nobody reads
		if claims.Kind == receiver.KindFailure {
			delete(header, "Upstash-Workflow-Sdk-Version")
		}
	}
	if claims.Kind == receiver.KindMessage && n%2 == 0 {
		header.Set("Upstash-Schedule-Id", "scd_1")
	}
	if r.Header.Get("Upstash-Workflow-Sdk-Version") != "" || claims.Kind == receiver.KindCallback || claims.Kind == receiver.KindFailure {
		var err error
		if body, err = c.deliveredBody(body); err != nil {
			return nil, err
		}
	}
	if claims.RunID != "" && claims.Kind != receiver.KindFailure && n%5 == 0 {
		body = nil // to be fetched, as where it is too large: how large that is nobody says
	}
	header.Set("Upstash-Signature", c.sign(n, claims.Subject, body))
	spelled := http.Header{"User-Agent": {"Upstash-QStash"}}
	for name, values := range header {
		spelled[spellings[n%int64(len(spellings))](name)] = values
	}
	return overTheWire(r, spelled, body)
}

// spellings are how header names are written.
var spellings = []func(string) string{strings.ToLower, strings.ToUpper, func(name string) string { return name }}

// overTheWire is the request as a server reads it that comes with these bytes.
func overTheWire(r *http.Request, header http.Header, body []byte) (*http.Request, error) {
	out := &http.Request{
		Method: r.Method, URL: &url.URL{Opaque: r.RequestURI}, Host: r.Host, Header: header,
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	var b bytes.Buffer
	if err := out.Write(&b); err != nil {
		return nil, err
	}
	in, err := http.ReadRequest(bufio.NewReader(&b))
	if err != nil {
		return nil, err
	}
	in.RemoteAddr = r.RemoteAddr
	return in.WithContext(r.Context()), nil
}

// deliveredBody is a run's log, or an outcome, with fields that nobody knows yet.
func (c *cloud) deliveredBody(body []byte) ([]byte, error) {
	if len(body) == 0 {
		return nil, nil
	}
	v, err := decodeJSON(body)
	if err != nil {
		return nil, err
	}
	if _, isLog := v.([]any); !isLog {
		v, _ = documented(v, outcome, "body")
		return json.Marshal(future(v))
	}
	v, wrong := documented(v, logEntries, "log")
	if len(wrong) > 0 {
		c.t.Logf("the server's log: %q", wrong)
	}
	for _, entry := range v.([]any)[1:] {
		entry := entry.(map[string]any)
		text, err := base64.StdEncoding.DecodeString(fmt.Sprint(entry["body"]))
		if err != nil {
			return nil, err
		}
		if result, err := decodeJSON(text); err == nil && entry["callType"] == "step" {
			result, _ = documented(result, stepBody, "step")
			if text, err = json.Marshal(future(result)); err != nil {
				return nil, err
			}
			entry["body"] = text
		}
	}
	return json.Marshal(future(v))
}

// sign makes the token of a delivery, with the claims that are documented and with
// one key as with the other: there is a rotation all the time.
func (c *cloud) sign(n int64, subject string, body []byte) string {
	now := time.Now().Unix()
	sum := sha256.Sum256(body)
	hash := base64.URLEncoding.EncodeToString(sum[:])
	claims := map[string]any{"iss": "Upstash", "sub": subject, "exp": now + 300, "nbf": now, "iat": now, "jti": "jwt_" + rand.Text(), "body": hash}
	if n/2%2 == 0 {
		claims["body"] = strings.TrimRight(hash, "=")
		claims["nbf"], claims["aud"] = 0, ""
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		c.t.Error(err)
	}
	signed := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(payload)
	mac := hmac.New(sha256.New, []byte(c.keys[n%2]))
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// checkAnswer looks at what an endpoint answers.
func (c *cloud) checkAnswer(r *http.Request, out *httptest.ResponseRecorder) {
	for name, values := range out.Header() {
		setting, isUpstash := strings.CutPrefix(strings.ToLower(name), "upstash-")
		var err error
		switch {
		case isUpstash:
			err = answered.match(setting, strings.Join(values, ", "))
		case !slices.Contains([]string{"Content-Type", "X-Content-Type-Options", "Retry-After"}, name):
			err = fmt.Errorf("header %s of an answer", name)
		}
		if err != nil {
			c.wrong(r, err.Error())
		}
	}
	v, err := decodeJSON(out.Body.Bytes())
	if err == nil {
		body, _ := v.(map[string]any)
		err = documentedStatus(out.Code, out.Header(), body)
		var unknown []string
		switch {
		case body["error"] != nil:
			_, unknown = documented(v, failing, "answer")
		case body["finishCondition"] != nil:
			_, unknown = documented(v, finishing, "answer")
		default:
			_, unknown = documented(v, handling, "answer")
		}
		for _, u := range unknown {
			c.wrong(r, u)
		}
	}
	if err == nil && out.Header().Get("Upstash-Workflow-Sdk-Version") == "" {
		err = fmt.Errorf("an answer without Upstash-Workflow-Sdk-Version")
	}
	if err != nil {
		c.wrong(r, err.Error())
	}
}

// wantUnseen checks that nothing of a kind did.
func (c *cloud) wantUnseen(what string) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.seen[what]; n > 0 {
		c.t.Errorf("%s, %d times", what, n)
	}
}

// wantSeen checks that something went through the filter.
func (c *cloud) wantSeen(what ...string) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range what {
		if c.seen[w] == 0 {
			c.t.Errorf("%s: nothing of that kind went through: %v", w, c.seen)
		}
	}
}
