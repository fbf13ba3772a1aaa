package wire

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFilterValues(t *testing.T) {
	tests := map[string]struct{ in, want []string }{
		"none":              {nil, nil},
		"empty":             {[]string{"", " ", ","}, []string{","}},
		"one":               {[]string{" a "}, []string{"a"}},
		"repeated":          {[]string{"a", "b", "a"}, []string{"a", "b"}},
		"comma list":        {[]string{"a, b,,c"}, []string{"a, b,,c", "a", "b", "c"}},
		"both":              {[]string{"a,b", "b", "c"}, []string{"a,b", "a", "b", "c"}},
		"a URL with commas": {[]string{"https://a/x,y"}, []string{"https://a/x,y", "https://a/x", "y"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, FilterValues(tt.in)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestListValues(t *testing.T) {
	tests := map[string]struct{ in, want []string }{
		"none":       {nil, nil},
		"empty":      {[]string{"", " ", ","}, nil},
		"repeated":   {[]string{" ACTIVE ", "RETRY", "ACTIVE"}, []string{"ACTIVE", "RETRY"}},
		"comma list": {[]string{"500, 503,,500"}, []string{"500", "503"}},
		"both":       {[]string{"a@1,b@2", "c@3"}, []string{"a@1", "b@2", "c@3"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, ListValues(tt.in)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func FuzzFilterValues(f *testing.F) {
	f.Add("a, b,,c", "https://a/x,y")
	f.Add("", ",")
	f.Fuzz(func(t *testing.T, one, two string) {
		filter := FilterValues([]string{one, two})
		for _, v := range ListValues([]string{one, two}) {
			if v == "" || strings.Contains(v, ",") || v != strings.TrimSpace(v) {
				t.Errorf("%q is no element", v)
			}
			if !slices.Contains(filter, v) {
				t.Errorf("the filter %q misses %q", filter, v)
			}
		}
	})
}
