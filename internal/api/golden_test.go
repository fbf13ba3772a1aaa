package api_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/signposthq/signpost"
	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/api"
)

var update = flag.Bool("update", false, "write what the server answers into testdata")

// Each file of testdata is a conversation with a server of its own. A request
// is sent as it is written, byte for byte, with Host, Content-Length and a
// token added, unless it has one; "Authorization: none" leaves the token out.
// "await" waits until a message, a run, or a run's failure callback is in a state.
//
// {endpoint} is a destination that answers by its path. Ids and times differ
// from run to run: they are written msg_1, scd_1, wfr_1, dlq_1, sig_1, tok_1, cursor_1,
// secret_1 (a token), and the ids of keys key_1 and kid_1, in the order they
// appear, TIME, SECONDS and PREFIX. In a request, such a name stands for the value
// it was given to.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	covered := map[int]bool{}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			for i := range converse(t, file) {
				covered[i] = true
			}
		})
	}
	for i, r := range api.Routes() {
		if !covered[i] && !t.Failed() {
			t.Errorf("no request of testdata goes to %s %s", r.Method, r.Pattern)
		}
	}
}

// converse plays one file and returns the routes it went through.
func converse(t *testing.T, file string) map[int]bool {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	n := &names{endpoint: w.endpoint(w.byPath()), real: map[string]string{}, count: map[string]int{}}
	reached := map[int]bool{}
	var answer string
	for i := range archive.Files {
		f := &archive.Files[i]
		switch f.Name {
		case "await":
			id, state, _ := strings.Cut(strings.TrimSpace(n.expand(string(f.Data))), " ")
			switch prefix, _, _ := strings.Cut(state, "_"); prefix {
			case "RUN":
				w.awaitRun(id, client.RunState(state))
			case "CALLBACK":
				w.awaitFailure(id, client.CallbackState(state))
			default:
				w.await(id, client.EventState(state))
			}
		case "request":
			text := n.expand(string(f.Data))
			method, path, _ := strings.Cut(strings.SplitN(text, "\n", 2)[0], " ")
			path, _, _ = strings.Cut(path, "?")
			reached[api.FindRoute(method, path)] = true
			answer = w.raw(text)
			documented(t, text, answer)
			answer = n.replace(answer)
		case "response":
			if *update {
				f.Data = []byte(answer)
			} else if diff := cmp.Diff(string(f.Data), answer); diff != "" {
				t.Errorf("%s, section %d: answer differs (-want +got):\n%s", file, i, diff)
			}
		default:
			t.Fatalf("%s: section %q", file, f.Name)
		}
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return reached
}

// byPath is an endpoint that answers by the path it is called at.
func (w *world) byPath() func(http.ResponseWriter, *delivery) {
	held := w.gate()
	return func(rw http.ResponseWriter, d *delivery) {
		rw.Header()["Date"] = nil
		path, _, _ := strings.Cut(d.url, "?")
		switch path[strings.LastIndexByte(path, '/'):] {
		case "/broken":
			rw.WriteHeader(http.StatusInternalServerError)
			io.WriteString(rw, "it broke")
		case "/held":
			held.pass()
		case "/workflow":
			rw.Header().Set("Upstash-Workflow-Sdk-Version", "1")
			rw.Header().Set("Upstash-Workflow-Sdk", "v1.0.0")
		default:
			io.WriteString(rw, "fine")
		}
	}
}

// raw writes a request on a connection and returns the answer as text.
func (w *world) raw(text string) string {
	w.t.Helper()
	head, body, _ := strings.Cut(text, "\n\n")
	body = strings.TrimSuffix(body, "\n")
	lines := strings.Split(strings.TrimSuffix(head, "\n"), "\n")
	lines[0] += " HTTP/1.1"
	host := strings.TrimPrefix(w.url, "http://")
	lines = append(lines, "Host: "+host, "Connection: close", fmt.Sprint("Content-Length: ", len(body)))
	if i := slices.Index(lines, "Authorization: none"); i >= 0 {
		lines = slices.Delete(lines, i, i+1)
	} else if !strings.Contains(head, "\nAuthorization: ") {
		lines = append(lines, "Authorization: Bearer "+w.token)
	}
	status, header, answer := w.exchange(strings.Join(lines, "\r\n") + "\r\n\r\n" + body)
	var out strings.Builder
	fmt.Fprintln(&out, status)
	for name, want := range everywhere {
		if got := header.Get(name); got != want && (name != "Cache-Control" || got == "") {
			w.t.Errorf("%s: %s is %q, want %q", lines[0], name, got, want)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(header)) {
		if header.Get(name) != everywhere[name] && name != "Date" && name != "Content-Length" && name != "Connection" && !strings.HasPrefix(name, "Burst-") {
			fmt.Fprintf(&out, "%s: %s\n", name, strings.Join(header[name], "|"))
		}
	}
	var pretty bytes.Buffer
	if json.Indent(&pretty, answer, "", "  ") != nil {
		pretty.Write(answer)
	}
	fmt.Fprintf(&out, "\n%s\n", pretty.Bytes())
	return out.String()
}

// everywhere are headers that all answers have; the first may be another.
var everywhere = map[string]string{
	"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
}

// exchange sends bytes on a new connection and reads one response.
func (w *world) exchange(request string) (status int, header http.Header, body []byte) {
	w.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		w.t.Fatalf("%v\nto %q", err, request)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, body
}

// names puts stable names in the place of what differs from run to run.
type names struct {
	endpoint *endpoint
	real     map[string]string // by name
	count    map[string]int    // names given, by prefix
}

var (
	given    = regexp.MustCompile(`msg_[0-9A-Za-z]{22}|scd_[0-9A-Za-z]{22}|wfr_[0-9A-Za-z]{21}|sig_[0-9A-Za-z]{28}|tok_[0-9a-f]{24}|eyJVc2VySUQi[0-9A-Za-z+/=]+|\b1\d{12}-\d+|\b\d{16,19}-\d+|\b1\d{12}\b|"[0-9a-f]{12}"|"[\w-]{43}"`)
	nickname = regexp.MustCompile(`\b(msg|scd|wfr|sig|tok|dlq|cursor|secret)_\d+\b`)
	prefix   = regexp.MustCompile(`"prefix": "[0-9A-Za-z]{6}"`)
	until    = regexp.MustCompile(`(?m)^(Ratelimit-Reset|Retry-After): \d+$`)
	etag     = regexp.MustCompile(`(?m)^Etag: "[0-9a-f]{64}"$`)
	seconds  = regexp.MustCompile(`"(ratePeriodStart|deadline|waitTimeoutDeadline)": \d{10}\b`)
)

func (n *names) replace(text string) string {
	text = strings.ReplaceAll(text, n.endpoint.URL, "{endpoint}")
	text = etag.ReplaceAllString(text, "Etag: TAG")
	text = until.ReplaceAllString(text, "$1: TIME")
	text = prefix.ReplaceAllString(text, `"prefix": "PREFIX"`)
	text = seconds.ReplaceAllString(text, `"$1": SECONDS`)
	return given.ReplaceAllStringFunc(text, n.name)
}

func (n *names) name(value string) string {
	for name, real := range n.real {
		if real == value {
			return name
		}
	}
	prefix := "cursor"
	switch {
	case value[0] == '"':
		return `"` + n.name(strings.Trim(value, `"`)) + `"`
	case len(value) == 12:
		prefix = "key"
	case len(value) == 43:
		prefix = "kid"
	case len(value) == 13:
		return "TIME"
	case len(value) == 12:
		prefix = "key"
	case strings.HasPrefix(value, "eyJ"):
		prefix = "secret"
	case value[3] == '_':
		prefix = value[:3]
		for _, u := range signpost.DevUsers {
			if value == u.CurrentSigningKey || value == u.NextSigningKey {
				return value
			}
		}
	case value[13] == '-':
		prefix = "dlq"
	}
	n.count[prefix]++
	name := fmt.Sprintf("%s_%d", prefix, n.count[prefix])
	n.real[name] = value
	return name
}

func (n *names) expand(text string) string {
	text = strings.ReplaceAll(text, "{endpoint}", n.endpoint.URL)
	return nickname.ReplaceAllStringFunc(text, func(name string) string {
		if real, ok := n.real[name]; ok {
			return real
		}
		return name
	})
}
