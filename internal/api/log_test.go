package api

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
)

// A handler that fails or panics says so in the log, without a word of the
// request; the caller is told nothing.
func TestT17FailuresInTheLog(t *testing.T) {
	var log bytes.Buffer
	h := &Handler{log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	for name, test := range map[string]struct {
		fail func(*request)
		says string
	}{
		"an error": {func(r *request) { h.fail(r, errors.New("disk is full")) }, "disk is full"},
		"a panic of the runtime": {func(r *request) {
			defer h.recover(r.writer)
			_ = r.params[len(r.URL.Path)]
		}, "index out of range"},
		"a panic with a secret": {func(r *request) {
			defer h.recover(r.writer)
			panic("canary")
		}, "string"},
		"a panic with an error": {func(r *request) {
			defer h.recover(r.writer)
			panic(&engine.Error{Message: "canary"})
		}, "engine.Error"},
	} {
		log.Reset()
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "/v2/publish/https://canary/canary?canary=canary", strings.NewReader("canary"))
		r.Header.Set("Authorization", "Bearer canary")
		test.fail(&request{Request: r, handler: h, writer: w, route: &routes[0]})
		if w.Code != 500 || w.Body.String() != `{"error":"internal error"}` {
			t.Errorf("%s: answered %d %s", name, w.Code, w.Body)
		}
		if !strings.Contains(log.String(), test.says) || strings.Contains(log.String(), "canary") {
			t.Errorf("%s: logged %s", name, &log)
		}
	}
}
