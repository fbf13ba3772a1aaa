package signpost

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/signposthq/signpost/internal/store"
)

// ErrMasterKey is why a server does not start with the master keys it was
// given, or without any: they are not such keys, or not those that its data is
// sealed with.
var ErrMasterKey = store.ErrMasterKey

// NewMasterKey makes a random master key, in the form that Server.MasterKeys
// and a master key file have it: base64 of 32 bytes.
func NewMasterKey() string {
	key := make([]byte, store.MasterKeyBytes)
	rand.Read(key) // never fails
	return base64.StdEncoding.EncodeToString(key)
}

// masterKeys reads the keys of the file and those given as text, in this order.
// Its errors say where a key is wrong and never what it is.
func (s *Server) masterKeys() (keys [][]byte, err error) {
	if s.MasterKeyFile != "" {
		text, err := readSecretFile(s.MasterKeyFile)
		if err != nil {
			return nil, fmt.Errorf("%w file: %w", ErrMasterKey, err)
		}
		if keys, err = parseMasterKeys(text); err != nil {
			return nil, fmt.Errorf("%w file %s: %w", ErrMasterKey, s.MasterKeyFile, err)
		}
		if len(keys) == 0 {
			return nil, fmt.Errorf("%w file %s: expected a key, got none", ErrMasterKey, s.MasterKeyFile)
		}
	}
	more, err := parseMasterKeys([]byte(s.MasterKeys))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMasterKey, err)
	}
	return append(keys, more...), nil
}

// readSecretFile refuses a file that is not for its owner, or its group, alone.
func readSecretFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o027 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("%s may be read by others, or written by its group (mode %04o): chmod 600 it", path, mode)
	}
	const most = 64 << 10
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && len(text) > most {
		err = fmt.Errorf("%s is longer than %d bytes", path, most)
	}
	return text, err
}

// parseMasterKeys reads keys, one a line or separated by commas. What follows #
// is a comment.
func parseMasterKeys(text []byte) (keys [][]byte, err error) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for number := 1; lines.Scan(); number++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		for part := range strings.SplitSeq(line, ",") {
			if part = strings.TrimSpace(part); part == "" {
				continue
			}
			key, err := parseMasterKey(part)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", number, err)
			}
			keys = append(keys, key)
		}
	}
	return keys, lines.Err()
}

var errNoMasterKey = fmt.Errorf("expected %d bytes as base64 or hex, as signpost keys generate-master prints them", store.MasterKeyBytes)

func parseMasterKey(text string) ([]byte, error) {
	if len(text) == hex.EncodedLen(store.MasterKeyBytes) {
		if key, err := hex.DecodeString(text); err == nil {
			return checkMasterKey(key)
		}
	}
	unpadded := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	key, err := base64.RawStdEncoding.Strict().DecodeString(unpadded)
	if err != nil || len(key) != store.MasterKeyBytes {
		return nil, errNoMasterKey
	}
	return checkMasterKey(key)
}

// checkMasterKey refuses what somebody has typed in instead of a random key.
func checkMasterKey(key []byte) ([]byte, error) {
	if bytes.Count(key, key[:1]) == len(key) {
		return nil, errors.New("expected a random key, got the same byte all over")
	}
	return key, nil
}
