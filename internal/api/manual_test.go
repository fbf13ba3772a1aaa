package api

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/signposthq/signpost/internal/wire"
)

// docs/publish.md names every setting of a publish, and every field of what a
// callback carries.
func TestPublishManual(t *testing.T) {
	page, err := os.ReadFile("../../docs/publish.md")
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths map[string]map[string]struct {
			Parameters []struct {
				Ref string `json:"$ref"`
			}
		}
	}
	if err := json.Unmarshal(openapi, &document); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, p := range document.Paths["/v2/publish/{destination}"]["post"].Parameters {
		name, isHeader := strings.CutPrefix(p.Ref, "#/components/parameters/header.")
		switch {
		case !isHeader, strings.HasPrefix(name, wire.PrefixWorkflow), name == wire.HeaderFeatureSet:
			continue // of workflows
		case strings.HasPrefix(name, wire.PrefixTelemetry):
			continue // sets nothing
		}
		if prefix, ok := strings.CutSuffix(name, "-setting"); ok {
			name = prefix + "-{setting}"
		} else if prefix, ok := strings.CutSuffix(name, "-name"); ok {
			name = prefix + "-{name}"
		}
		names["`"+name+"`"] = true
	}
	if len(names) < 20 {
		t.Fatalf("settings of a publish: %v", names)
	}
	body := reflect.TypeFor[wire.CallbackBody]()
	for i := range body.NumField() {
		name, _, _ := strings.Cut(body.Field(i).Tag.Get("json"), ",")
		if !strings.HasPrefix(name, "workflow") {
			names[name] = true
		}
	}
	for name := range names {
		if !strings.Contains(string(page), name) {
			t.Errorf("docs/publish.md does not say %s", name)
		}
	}
}
