package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/signposthq/signpost/client"
)

type runsShowCmd struct {
	ID     string `arg:"" complete:"run" help:"Id of the run: wfr_…"`
	JSON   bool   `name:"json" help:"Print JSON."`
	remote `embed:""`
}

func (*runsShowCmd) Help() string {
	return `Each line is a step: when it came to its result, how that went, and, as a bar, its share of the run's time. Steps that ran in
parallel are joined by a line. By its number "signpost runs resume --set-step" gives a step another result. The run of that id that started last is shown.`
}

func (c *runsShowCmd) Run(ctx context.Context, o *outside) error {
	return c.use(func(cl *client.Client) error {
		run, err := cl.Run(ctx, c.ID)
		if err != nil {
			return err
		}
		if err := writeItem(o.stdout, c.JSON, run, runFields(&run)); err != nil || c.JSON {
			return err
		}
		fmt.Fprintln(o.stdout)
		return writeTable(o.stdout, timeline(&run, time.Now()))
	})
}

func runFields(run *client.Run) [][2]string {
	out := [][2]string{
		{"run", run.WorkflowRunID}, {"url", run.WorkflowURL}, {"state", stateText(run.State)},
		{"started", timeText(run.CreatedAt, "")}, {"ended", timeText(run.CompletedAt, "")}, {"took", tookText(run)},
		{"labels", strings.Join(run.Labels, ", ")}, {"flow control", run.FlowControlKey}, {"from", run.CallerIP},
	}
	if run.Invoker != nil {
		out = append(out, [2]string{"invoked by", run.Invoker.WorkflowRunID})
	}
	if run.Predecessor != nil {
		out = append(out, [2]string{"goes on from", run.Predecessor.WorkflowRunID})
	}
	out = append(out, [2]string{"result", oneLine(run.Response)})
	if run.Successor != nil {
		out = append(out, [2]string{"went on as", run.Successor.WorkflowRunID})
	} else {
		out = append(out, [2]string{"DLQ", run.DLQID})
	}
	if f := run.FailureFunction; f != nil {
		out = append(out,
			[2]string{"failed with", failedWith(run)},
			[2]string{"failure function", strings.TrimSpace(strings.ToLower(strings.TrimPrefix(string(f.State), "CALLBACK_")) + " " + oneLine(f.ResponseBody))})
	}
	return out
}

// failedWith is why a run has failed: what its endpoint said or, if it gave no
// answer, why not.
func failedWith(run *client.Run) string {
	if f := run.FailureFunction; f.FailStatus != 0 {
		return strings.TrimSpace(fmt.Sprintf("%d %s", f.FailStatus, failure(f.FailResponse)))
	}
	for _, group := range slices.Backward(run.Steps) {
		for i := range group.Steps {
			if s := &group.Steps[i]; s.State == client.StepFailed && len(s.Errors) > 0 {
				return lastError(s)
			}
		}
	}
	return "no answer"
}

// span is the time a step took, in Unix milliseconds.
type span struct{ from, to int64 }

// timeline is a table of a run's steps.
func timeline(run *client.Run, now time.Time) [][]string {
	end := cmp.Or(run.CompletedAt, now.UnixMilli())
	rows := [][]string{{" #", "  STEP", "TYPE", "STATE", "AT", "TOOK", "TIMELINE", "DETAIL"}}
	from := run.CreatedAt
	for _, group := range run.Steps {
		last := from
		for i := range group.Steps {
			s := &group.Steps[i]
			sp := spanOf(s, from, end)
			last = max(last, sp.to)
			rows = append(rows, []string{
				numberText(s), joint(group.Type, i, len(group.Steps)) + " " + cmp.Or(s.StepName, "(next)"), s.StepType, stepState(s),
				"+" + shortTime(time.Duration(sp.to-run.CreatedAt)*time.Millisecond), shortTime(time.Duration(sp.to-sp.from) * time.Millisecond),
				bar(sp, run.CreatedAt, end), detail(s),
			})
		}
		from = last
	}
	return rows
}

// numberText is the place of a step in its run, which edits of results name it by.
func numberText(s *client.RunStep) string {
	if s.StepID == 0 {
		return " -"
	}
	return fmt.Sprintf("%2d", s.StepID)
}

// spanOf is when a step was under way: from the end of what was before it, to
// its result, or for a sleep to its end.
func spanOf(s *client.RunStep, from, end int64) span {
	to := cmp.Or(s.CreatedAt, end)
	switch {
	case s.SleepUntil != 0:
		to = max(to, s.SleepUntil*1000)
	case s.SleepFor != 0:
		to += s.SleepFor * 1000
	case s.State != client.StepSuccess:
		to = end
	}
	return span{min(from, to), min(to, max(from, end))}
}

func joint(t client.GroupType, i, n int) string {
	switch {
	case t != client.GroupParallel || n == 1:
		return "─"
	case i == 0:
		return "┌"
	case i == n-1:
		return "└"
	}
	return "├"
}

func stepState(s *client.RunStep) string {
	return strings.ToLower(strings.TrimPrefix(string(s.State), "STEP_"))
}

const barLength = 20

// bar is where in a run a span is.
func bar(s span, start, end int64) string {
	total := max(1, end-start)
	place := func(at int64) int { return int((min(max(at, start), end) - start) * barLength / total) }
	from, to := place(s.from), place(s.to)
	if to == from {
		from, to = min(from, barLength-1), min(from, barLength-1)+1
	}
	return strings.Repeat("·", from) + strings.Repeat("█", to-from) + strings.Repeat("·", barLength-to)
}

// detail is what else there is to know of a step, in a line.
func detail(s *client.RunStep) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	switch {
	case s.SleepUntil != 0:
		add("until %s", timeText(s.SleepUntil*1000, ""))
	case s.SleepFor != 0:
		add("for %s", shortTime(time.Duration(s.SleepFor)*time.Second))
		if s.State == client.StepProgress {
			add("until %s", timeText(s.CreatedAt+s.SleepFor*1000, ""))
		}
	case s.CallURL != "":
		add("%s %s", s.CallMethod, shownURL(s.CallURL))
		if s.CallResponseStatus != 0 {
			add("%d", s.CallResponseStatus)
		}
	case s.WaitEventID != "" && s.WaitTimeout:
		add("event %s did not come", s.WaitEventID)
	case s.WaitEventID != "":
		add("event %s", s.WaitEventID)
		if s.State == client.StepProgress && s.WaitTimeoutDeadline != 0 {
			add("until %s", timeText(s.WaitTimeoutDeadline*1000, ""))
		}
	case s.InvokedWorkflowRunID != "":
		add("run %s", s.InvokedWorkflowRunID)
	}
	if n := len(s.Errors); n > 0 {
		add("failed %s: %s", times(n), lastError(s))
		if s.State == client.StepRetry {
			add("again %s", nearText(s.NextDeliveryTime, "soon"))
		}
	} else if text := oneLine(resultText(s)); text != "" {
		add("%s", text)
	}
	return strings.Join(parts, "  ")
}

// lastError is what went wrong with the latest attempt.
func lastError(s *client.RunStep) string {
	e := s.Errors[len(s.Errors)-1]
	return strings.Trim(e.Error+": "+failure(e.Body), ": ")
}

// resultText is a step's result as its workflow gets it.
func resultText(s *client.RunStep) string {
	switch s.StepType {
	case "Call":
		return s.CallResponseBody
	case "Invoke":
		return invokedText(s.Out)
	case "Wait":
		return eventText(s.Out)
	case "WaitForWebhook":
		return webhookText(s.Out)
	}
	return s.Out
}

// eventText is the data of an event, which comes in base64. What is no text stays so.
func eventText(out string) string {
	if data, err := base64.StdEncoding.DecodeString(out); err == nil && utf8.Valid(data) {
		return string(data)
	}
	return out
}

// webhookText is the request that a webhook got.
func webhookText(out string) string {
	var r struct {
		Method, URL string
		Body        []byte
	}
	if json.Unmarshal([]byte(eventText(out)), &r) != nil || r.Method == "" {
		return eventText(out)
	}
	text := r.Method
	if _, query, ok := strings.Cut(r.URL, "?"); ok {
		text += " ?" + query
	}
	if !utf8.Valid(r.Body) {
		return fmt.Sprintf("%s  %d bytes", text, len(r.Body))
	}
	return text + " " + string(r.Body)
}

// invokedText is what became of a run that was invoked.
func invokedText(out string) string {
	var r struct {
		Body                 string
		IsFailed, IsCanceled bool
	}
	switch err := json.Unmarshal([]byte(out), &r); {
	case err != nil:
		return out
	case r.IsFailed:
		return "failed " + r.Body
	case r.IsCanceled:
		return "canceled"
	}
	return r.Body
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// failure is what an endpoint says went wrong.
func failure(body string) string {
	var said struct{ Message string }
	if json.Unmarshal([]byte(body), &said) == nil && said.Message != "" {
		body = said.Message
	}
	return beginning(body, 1000)
}

// oneLine is the beginning of a text.
func oneLine(text string) string { return beginning(text, 80) }

func beginning(text string, most int) string {
	if text = strings.Join(strings.Fields(text), " "); text == "" {
		return ""
	}
	return cut(text, most)
}
