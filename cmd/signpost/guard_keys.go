package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/signposthq/signpost/receiver"
)

// guardKeys are the keys a guard verifies with; next may be "".
type guardKeys struct{ current, next string }

func (k guardKeys) nextID() string {
	if k.next == "" {
		return ""
	}
	return receiver.KeyID(k.next)
}

const (
	currentKeyVariable = "QSTASH_CURRENT_SIGNING_KEY"
	nextKeyVariable    = "QSTASH_NEXT_SIGNING_KEY"
)

// keys reads the shared keys from where c says; there are none with --jwks.
func (c *guardCmd) keys() (guardKeys, error) {
	given := guardKeys{c.CurrentKey, c.NextKey}
	file, public, set := c.KeysFile != "", c.JWKS != "", given != (guardKeys{})
	switch {
	case file && public, file && set, public && set:
		return guardKeys{}, withHint(errors.New("keys are given twice: by --keys-file, by --jwks, or by flags and the environment"),
			"keep one of them; the environment's are "+currentKeyVariable+" and "+nextKeyVariable)
	case public:
		return guardKeys{}, nil
	case file:
		return readKeysFile(c.KeysFile)
	case given.current == "":
		return guardKeys{}, withHint(errors.New("no key to verify with"),
			"set "+currentKeyVariable+" and "+nextKeyVariable+`, or pass --keys-file; "signpost keys show" prints the server's`)
	}
	return given, nil
}

func readKeysFile(path string) (guardKeys, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return guardKeys{}, fmt.Errorf("read keys: %w", err)
	}
	keys, err := parseKeysFile(string(content))
	if err != nil {
		return guardKeys{}, withHint(fmt.Errorf("read keys: %s: %w", path, err), `"signpost keys show" prints such lines`)
	}
	return keys, nil
}

// parseKeysFile finds the two keys among NAME=value lines as shells and .env
// files have them: with or without "export", quotes and #-comments. Other names
// are passed over.
func parseKeysFile(content string) (keys guardKeys, err error) {
	for i, line := range strings.Split(content, "\n") {
		name, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		into := map[string]*string{currentKeyVariable: &keys.current, nextKeyVariable: &keys.next}[strings.TrimSpace(name)]
		switch {
		case into == nil:
		case *into != "":
			return guardKeys{}, fmt.Errorf("line %d: %s is there twice", i+1, strings.TrimSpace(name))
		default:
			*into = unquote(strings.TrimSpace(value))
		}
	}
	if keys.current == "" {
		return guardKeys{}, fmt.Errorf("expected a line %s=sig_…, found none", currentKeyVariable)
	}
	return keys, nil
}

func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '\'' || s[0] == '"') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}
