package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/signposthq/signpost/client"
	"github.com/signposthq/signpost/internal/engine"
)

// schedule makes one and returns its id.
func (w *world) schedule(destination, body string, header ...string) string {
	w.t.Helper()
	var made client.ScheduleResponse
	w.do("POST", "/v2/schedules/"+destination, body, header...).into(200, &made)
	return made.ScheduleID
}

// tick has a schedule publish now, not when its expression says so.
func (w *world) tick(id string) {
	w.t.Helper()
	err := w.store.Update(w.t.Context(), func(tx engine.Tx) error {
		s, err := tx.LockScheduleNamed(1, id)
		if err != nil {
			return err
		}
		s.NextAt = time.Now().UnixMilli()
		return tx.AdvanceSchedule(s)
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.do("DELETE", "/v2/schedules/"+w.schedule("https://a.example", "", "Upstash-Cron: @yearly"), "") // wakes it
}

// awaitSchedule is a schedule once it is in a state.
func (w *world) awaitSchedule(id string, is func(*client.Schedule) bool) client.Schedule {
	w.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if s := get[client.Schedule](w, "/v2/schedules/"+id); is(&s) {
			return s
		} else if time.Now().After(end) {
			w.t.Fatalf("still %+v", s)
		}
	}
}

// How the messages of the last time are doing is told in the three words that
// official clients know.
func TestScheduleStates(t *testing.T) {
	w := newLimitedWorld(t, engine.Limits{})
	for code, want := range map[int]client.ScheduleState{200: client.ScheduleSuccess, 400: client.ScheduleFail} {
		held := w.gate()
		e := w.endpoint(func(rw http.ResponseWriter, _ *delivery) { held.pass(); rw.WriteHeader(code) })
		id := w.schedule(e.URL, "", "Upstash-Cron: 0 0 1 1 *", "Upstash-Retries: 0")
		if s := get[client.Schedule](w, "/v2/schedules/"+id); s.LastTime != 0 || s.LastStates != nil || s.NextTime == 0 {
			t.Errorf("at first: %+v", s)
		}
		w.tick(id)
		in := func(state client.ScheduleState) func(*client.Schedule) bool {
			return func(s *client.Schedule) bool {
				for _, is := range s.LastStates {
					return len(s.LastStates) == 1 && is == state
				}
				return false
			}
		}
		s := w.awaitSchedule(id, in(client.ScheduleInProgress))
		if s.Error != "" || s.LastTime == 0 || s.NextTime <= s.LastTime {
			t.Errorf("under way: %+v", s)
		}
		held.release()
		s = w.awaitSchedule(id, in(want))
		for message := range s.LastStates {
			if m := get[client.Message](w, "/v2/messages/"+message); m.ScheduleID != id || m.CallerIP == "" {
				t.Errorf("message %+v", m)
			}
		}
	}
}

// What a schedule was asked to hide nobody reads of it, nor of its messages;
// they carry it all the same.
func TestT17ScheduleHidesWhatIsRedacted(t *testing.T) {
	w := newLimitedWorld(t, engine.Limits{})
	e := w.endpoint(answers("", nil, 200))
	const secret = "hunter2"
	id := w.schedule(e.URL, secret, "Upstash-Cron: 0 0 1 1 *", "Upstash-Redact-Fields: body, header",
		"Upstash-Header-Forward: true", "X-Secret: "+secret, "Upstash-Callback: "+e.URL, "Upstash-Callback-Forward-X: "+secret)
	w.tick(id)
	s := w.awaitSchedule(id, func(s *client.Schedule) bool { return len(s.LastStates) == 1 })
	if !strings.HasPrefix(s.Body, "REDACTED:") || !strings.HasPrefix(s.Header.Get("X-Secret"), "REDACTED:") || s.Header.Get("Authorization") != "" {
		t.Errorf("schedule %+v", s)
	}
	for message := range s.LastStates {
		w.await(message, client.EventDelivered)
		for _, path := range []string{"/v2/schedules", "/v2/schedules/" + id, "/v2/messages/" + message, "/v2/events"} {
			if a := w.do("GET", path, ""); a.status != 200 || strings.Contains(string(a.body), secret) {
				t.Errorf("%s: %d %s", path, a.status, a.body)
			}
		}
	}
	d := e.await(1)[0]
	if string(d.body) != secret || d.header.Get("X-Secret") != secret || d.header.Get("Authorization") != "" || d.header.Get("Upstash-Schedule-Id") != id {
		t.Errorf("delivered %q with %v", d.body, d.header)
	}
}

// T23: as many schedules as are allowed, and no more: 412.
func TestT23ScheduleLimit(t *testing.T) {
	w := newLimitedWorld(t, engine.Limits{MaxSchedules: 1})
	id := w.schedule("https://a.example", "", "Upstash-Cron: @daily")
	w.do("POST", "/v2/schedules/https://a.example", "", "Upstash-Cron: @daily").refused(412, "1 schedules")
	w.schedule("https://b.example", "", "Upstash-Cron: @daily", "Upstash-Schedule-Id: "+id)
}

// The caller's IP stands under both of its names, and nothing that was not given
// stands anywhere.
func TestScheduleJSON(t *testing.T) {
	w := newWorld(t)
	id := w.schedule("https://a.example", "\xff\x00", "Upstash-Cron: @daily")
	var s map[string]any
	w.do("GET", "/v2/schedules/"+id, "").into(200, &s)
	for name, want := range map[string]any{
		"scheduleId": id, "cron": "@daily", "destination": "https://a.example", "method": "POST", "isPaused": false, "retries": 3.0,
		"callerIP": "127.0.0.1", "callerIp": "127.0.0.1", "bodyBase64": "/wA=",
	} {
		if s[name] != want {
			t.Errorf("%s is %v, want %v", name, s[name], want)
		}
		delete(s, name)
	}
	delete(s, "createdAt")
	delete(s, "nextScheduleTime")
	if len(s) > 0 {
		t.Errorf("and also %v", s)
	}
	text, err := json.Marshal(client.Schedule{CallerIP: "::1"})
	var read client.Schedule
	if err != nil || json.Unmarshal(text, &read) != nil || read.CallerIP != "::1" {
		t.Errorf("%s read as %+v", text, read)
	}
}

// T21: to a token with a prefix there are the schedules within it, and no others.
func TestT21PrefixLimitsSchedules(t *testing.T) {
	full := newWorld(t)
	w := full.withToken(fmt.Sprintf(`"urlPrefix": %q`, strings.TrimSuffix(inside, "/")), client.ScopePublish, client.ScopeRead)
	cron := "Upstash-Cron: @daily"
	for name, ask := range map[string]func() answer{
		"schedule": func() answer { return w.do("POST", "/v2/schedules/"+outside, "", cron) },
		"legacy":   func() answer { return w.do("POST", "/v2/publish/"+outside, "", cron) },
		"callback": func() answer { return w.do("POST", "/v2/schedules/"+inside, "", cron, "Upstash-Callback: "+outside) },
	} {
		full.unchanged(name, func() { ask().refused(403, "forbidden") })
	}
	in, out := full.schedule(inside, "", cron), full.schedule(outside, "", cron)
	if all := get[[]client.Schedule](w, "/v2/schedules"); len(all) != 1 || all[0].ScheduleID != in {
		t.Errorf("sees %+v", all)
	}
	w.do("GET", "/v2/schedules/"+out, "").refused(404)
	w.do("PATCH", "/v2/schedules/"+out+"/pause", "").refused(404)
	w.do("POST", "/v2/schedules/"+inside, "", cron, "Upstash-Schedule-Id: "+out).refused(409, out)
	w.do("DELETE", "/v2/schedules/"+out, "").into(200, new(struct{}))
	if all := get[[]client.Schedule](full, "/v2/schedules"); len(all) != 2 {
		t.Errorf("left are %+v", all)
	}
	w.schedule(inside, "", cron)
	tokens := get[client.TokensPage](full, "/v2/tokens").Tokens
	var revoked client.RevokedToken
	full.do("DELETE", "/v2/tokens/"+tokens[len(tokens)-1].ID, "").into(200, &revoked)
	if revoked.SchedulesPaused != 1 {
		t.Errorf("revoked: %+v", revoked)
	}
}
