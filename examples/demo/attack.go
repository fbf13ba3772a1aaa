package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/signposthq/signpost/receiver"
)

// attack is a request that does not come from the server.
type attack struct {
	name    string
	key     string               // it is signed with; none: not at all
	signed  receiver.SignOptions // what the signature says
	body    string
	header  map[string]string
	refusal string // what the answer has to name
}

func (d *demo) attacks(ctx context.Context) error {
	d.title("Six attacks on the endpoint")
	for _, a := range d.plan() {
		status, reason, err := d.send(ctx, a)
		if err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		d.say("  %-30s %s %s", a.name, d.paint(red, fmt.Sprint(status)), reason)
		if status != http.StatusUnauthorized || !strings.Contains(strings.ToLower(reason), a.refusal) {
			return fmt.Errorf("%s: answered %d %q, not 401 with %q", a.name, status, reason, a.refusal)
		}
	}
	return d.untouched()
}

// plan are the attacks. Those of whoever has seen a delivery have its signature,
// which is made here with the key of the server.
func (d *demo) plan() []attack {
	const body = `{"email":"eve@example.com"}`
	genuine := receiver.SignOptions{URL: d.endpoint, Body: []byte(body)}
	late, elsewhere := genuine, genuine
	late.Time = time.Now().Add(-10 * time.Minute)
	elsewhere.URL = strings.TrimSuffix(d.endpoint, "/onboard") + "/mail"

	failure, _ := json.Marshal(map[string]any{ // numbers and strings only
		"status": 500, "url": d.endpoint, "workflowRunId": "wfr_forged", "sourceBody": []byte(body), "body": []byte("forged"),
	})
	// A step as the server would send it, caught and passed on as what it is not.
	log, _ := json.Marshal([]map[string]any{{"messageId": "msg_caught", "body": []byte(body), "callType": "step"}}) // strings only
	step := http.Header{"Upstash-Retried": {"0"}, "Upstash-Workflow-Runid": {"wfr_caught"}, "Upstash-Workflow-Sdk-Version": {"1"}}
	caught := map[string]string{"Upstash-Workflow-Is-Failure": "true", "Authorization": "Bearer " + d.secret}
	for name := range step {
		caught[name] = step.Get(name)
	}
	return []attack{
		{name: "unsigned", body: body, refusal: "no signature"},
		{name: "another body", key: d.keys.Current, signed: genuine, body: strings.Replace(body, "eve", "eve+1", 1), refusal: "body mismatch"},
		{name: "an old signature", key: d.keys.Current, signed: late, body: body, refusal: "expired"},
		{name: "a signature for another URL", key: d.keys.Current, signed: elsewhere, body: body, refusal: "url mismatch"},
		{
			name: "a step sent again as a failure", key: d.keys.Current, body: string(log), header: caught, refusal: "header mismatch",
			signed: receiver.SignOptions{URL: d.endpoint, Body: log, Kind: receiver.KindStep, RunID: "wfr_caught", Header: step},
		},
		{
			name: "a forged failure callback", key: "sig_the_key_of_somebody_else", body: string(failure), refusal: "bad signature",
			signed: receiver.SignOptions{URL: d.endpoint, Body: failure},
			header: map[string]string{
				"Upstash-Workflow-Is-Failure": "true", "Upstash-Workflow-Init": "false",
				"Upstash-Workflow-RunId": "wfr_forged", "Upstash-Workflow-Url": d.endpoint,
				"Authorization": "Bearer " + d.secret,
			},
		},
	}
}

func (d *demo) send(ctx context.Context, a attack) (status int, reason string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, d.endpoint, bytes.NewReader([]byte(a.body)))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Content-Type", "application/json")
	for name, value := range a.header {
		r.Header.Set(name, value)
	}
	if a.key != "" {
		token, err := receiver.Sign(a.key, a.signed)
		if err != nil {
			return 0, "", err
		}
		r.Header.Set(receiver.Header, token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	return resp.StatusCode, message(string(answer)), err
}

// message is the text of an endpoint's error answer.
func message(answer string) string {
	var e struct{ Message string }
	if json.Unmarshal([]byte(answer), &e) != nil || e.Message == "" {
		return answer
	}
	return e.Message
}
