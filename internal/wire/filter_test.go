package wire

import (
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
