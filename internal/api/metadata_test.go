package api

import (
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/signposthq/signpost/client"
)

// metadata are the text fields that a token with the scope read-metadata may
// see. A new field of an answer fails the test below until it stands here, or
// withoutContent leaves it out.
var metadata = strings.Fields(`
	MessageID DLQID WorkflowRunID InvokedWorkflowRunID
	URL URLPrefix TimeoutURL WorkflowURL CallURL InvokedWorkflowURL Callback FailureCallback
	Method CallMethod State FailureFunctionState Type StepName StepType CallType
	RetryDelayExpression RetryDelay WaitEventID WaitTimeoutDuration
	Name CallerIP URLGroup EndpointName QueueName ScheduleID FlowControlKey Label Labels
	Error Cursor Cron Destination LastStates
`)

// Whatever else an answer holds is left out, and of headers all but the names;
// what the engine holds is not touched.
func TestT21MetadataLeavesContentOut(t *testing.T) {
	for _, empty := range []any{
		client.Message{}, &client.EventsPage{}, logsPage{}, client.DLQMessage{}, client.DLQPage{}, client.RunsPage{},
		client.Schedule{}, []client.Schedule{}, []client.Waiter{},
		client.URLGroup{}, []client.URLGroup{},
	} {
		full := reflect.New(reflect.TypeOf(empty)).Elem()
		var headers []http.Header
		fill(full, &headers)
		if l, ok := full.Interface().(logsPage); ok {
			l.Logs = l.Events
			full = reflect.ValueOf(l)
		}
		got, err := withoutContent(full.Interface())
		if err != nil || reflect.TypeOf(got) != reflect.TypeOf(empty) {
			t.Fatalf("%T became %T, error %v", empty, got, err)
		}
		for _, field := range texts(reflect.ValueOf(got), "") {
			name := field[strings.LastIndexByte(field, '.')+1:]
			if !slices.Contains(metadata, name) {
				t.Errorf("%T shows %s", empty, field)
			}
		}
		for _, h := range headers {
			if h.Get("X-Name") != "a value" {
				t.Errorf("%T: the header itself was changed to %v", empty, h)
			}
		}
	}
	if got, err := withoutContent(client.SigningKeys{}); err == nil {
		t.Errorf("an answer nobody thought of became %+v", got)
	}
}

// fill sets everything there is to set.
func fill(v reflect.Value, headers *[]http.Header) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("text")
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), headers)
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[[]byte]() {
			v.SetBytes([]byte("text"))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), headers)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), headers)
		}
	case reflect.Map:
		if v.Type() != reflect.TypeFor[http.Header]() {
			v.Set(reflect.MakeMap(v.Type()))
			v.SetMapIndex(reflect.ValueOf("text"), reflect.ValueOf(client.ScheduleSuccess))
			return
		}
		h := http.Header{"X-Name": {"a value"}}
		*headers = append(*headers, h)
		v.Set(reflect.ValueOf(h))
	default:
		panic("a field of kind " + v.Kind().String())
	}
}

// texts are the fields that hold text; of a header, its values.
func texts(v reflect.Value, path string) (out []string) {
	switch v.Kind() {
	case reflect.String:
		if v.Len() > 0 {
			out = append(out, path)
		}
	case reflect.Pointer:
		out = texts(v.Elem(), path)
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[[]byte]() && v.Len() > 0 {
			return []string{path}
		}
		for i := range v.Len() {
			out = append(out, texts(v.Index(i), path)...)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			out = append(out, texts(v.Field(i), path+"."+v.Type().Field(i).Name)...)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			out = append(out, texts(v.MapIndex(key), path)...)
		}
	}
	return out
}
