package main

import (
	"strings"
	"testing"
)

func TestParseKeysFile(t *testing.T) {
	good := guardKeys{"sig_current", "sig_next"}
	tests := []struct {
		name, content string
		want          guardKeys
		err           string
	}{
		{"plain", "QSTASH_CURRENT_SIGNING_KEY=sig_current\nQSTASH_NEXT_SIGNING_KEY=sig_next\n", good, ""},
		{"as keys show prints it", "export QSTASH_CURRENT_SIGNING_KEY='sig_current'\nexport QSTASH_NEXT_SIGNING_KEY='sig_next'\n", good, ""},
		{"double quotes, CRLF, spaces", " QSTASH_CURRENT_SIGNING_KEY = \"sig_current\" \r\nQSTASH_NEXT_SIGNING_KEY=sig_next\r\n", good, ""},
		{"comments and others", "# QSTASH_NEXT_SIGNING_KEY=old\nA=b\n\nnonsense\nQSTASH_CURRENT_SIGNING_KEY=sig_current\nQSTASH_NEXT_SIGNING_KEY=sig_next", good, ""},
		{"no next key", "QSTASH_CURRENT_SIGNING_KEY=sig_current", guardKeys{"sig_current", ""}, ""},
		{"one quote", "QSTASH_CURRENT_SIGNING_KEY='", guardKeys{"'", ""}, ""},
		{"twice", "QSTASH_CURRENT_SIGNING_KEY=a\nQSTASH_CURRENT_SIGNING_KEY=b", guardKeys{}, "line 2: QSTASH_CURRENT_SIGNING_KEY is there twice"},
		{"empty", "", guardKeys{}, "expected a line QSTASH_CURRENT_SIGNING_KEY="},
		{"empty value", "QSTASH_CURRENT_SIGNING_KEY=", guardKeys{}, "expected a line QSTASH_CURRENT_SIGNING_KEY="},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseKeysFile(tt.content)
			if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}
