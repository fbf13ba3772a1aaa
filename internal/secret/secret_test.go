package secret

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const canary = "canary"

// Holders have a secret in every way that a struct can.
type holder struct {
	Exported Text
	private  Text
	Pointer  *Text
	Any      any
	List     []Text
	Map      map[string]Text
	inner    struct{ text Text }
}

func held() holder {
	t := New(canary)
	h := holder{Exported: t, private: t, Pointer: &t, Any: t, List: []Text{t}, Map: map[string]Text{"k": t}}
	h.inner.text = t
	return h
}

// However a secret is put out, it does not show.
func TestT17SecretsDoNotShow(t *testing.T) {
	s, h := New(canary), held()
	values := map[string]any{"text": s, "pointer": &s, "holder": h, "pointer to a holder": &h, "list": []any{s, h}}
	for name, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%T", "%p", "%20s", "%-5v", "%c", "%e", "%b", "%w"} {
			if got := fmt.Sprintf(verb, v); shows(got) {
				t.Errorf("%s: %s shows %s", name, verb, got)
			}
		}
		if got := fmt.Sprint(v) + fmt.Sprintln(v) + fmt.Errorf("%v and %w", v, errors.New("x")).Error(); shows(got) {
			t.Errorf("%s: printed as %s", name, got)
		}
		for format, encode := range map[string]func(any) ([]byte, error){"JSON": json.Marshal, "XML": xml.Marshal} {
			if got, _ := encode(v); shows(string(got)) {
				t.Errorf("%s: in %s it is %s", name, format, got)
			}
		}
		var out bytes.Buffer
		for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(handler).With("with", v).WithGroup("g").Info("message", "v", v, slog.Group("h", "v", v))
		}
		log.New(&out, "", 0).Print(v)
		if shows(out.String()) {
			t.Errorf("%s: logged as %s", name, &out)
		}
	}
	if s.String() != Hidden || fmt.Sprint(s) != Hidden {
		t.Errorf("a secret is printed as %s", s)
	}
}

func shows(out string) bool {
	out = strings.ToLower(out)
	return strings.Contains(out, canary) || strings.Contains(out, fmt.Sprintf("%x", canary))
}

// A panic with a secret does not show it either, not even in the stack.
func TestT17SecretsInPanics(t *testing.T) {
	if os.Getenv("PANIC") != "" {
		h := held()
		if os.Getenv("PANIC") == "text" {
			panic(h.Exported)
		}
		panic(fmt.Sprintf("%+v", h))
	}
	for _, what := range []string{"text", "holder"} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=TestT17SecretsInPanics")
		cmd.Env = append(os.Environ(), "PANIC="+what)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "panic") || shows(string(out)) {
			t.Errorf("%s: %v: %s", what, err, out)
		}
	}
}

func TestText(t *testing.T) {
	var zero, read Text
	if err := read.UnmarshalText([]byte(canary)); err != nil || read.Reveal() != canary {
		t.Errorf("read %q, %v", read.Reveal(), err)
	}
	if !zero.IsEmpty() || !New("").IsEmpty() || read.IsEmpty() || zero.Reveal() != "" {
		t.Error("what is empty and what is not is mixed up")
	}
	if !read.Equal(New(canary)) || read.Equal(New("canarz")) || read.Equal(zero) || !zero.Equal(New("")) {
		t.Error("what is equal and what is not is mixed up")
	}
}
