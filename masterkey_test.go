package signpost_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/signposthq/signpost"
	"github.com/signposthq/signpost/client"
)

// begin starts a server that may fail to.
func begin(t *testing.T, s *signpost.Server) error {
	t.Helper()
	s.Addr, s.Dev, s.Logger = "127.0.0.1:0", true, slog.New(slog.DiscardHandler)
	err := s.Start(t.Context())
	if err == nil {
		stop(t, s, time.Second)
	}
	return err
}

// Keys come as base64 or hex, in a file or as text; a mistake is said with its
// line, and without the key.
func TestMasterKeyForms(t *testing.T) {
	key := signpost.NewMasterKey()
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil || len(raw) != 32 || key == signpost.NewMasterKey() {
		t.Fatalf("not a fresh key of 32 bytes: %v", err)
	}
	for name, text := range map[string]string{
		"base64":           key,
		"base64, unpadded": strings.TrimRight(key, "="),
		"base64 for URLs":  base64.URLEncoding.EncodeToString(raw),
		"hex":              hex.EncodeToString(raw),
		"upper case hex":   strings.ToUpper(hex.EncodeToString(raw)),
		"lines":            "# the keys\r\n\n  " + key + "  # of June\n" + signpost.NewMasterKey(),
		"commas":           key + ", " + signpost.NewMasterKey() + ",",
	} {
		dir := t.TempDir()
		if err := begin(t, &signpost.Server{Data: dir, MasterKeys: text}); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := begin(t, &signpost.Server{Data: dir, MasterKeys: key}); err != nil {
			t.Errorf("%s: it is another key: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"a passphrase": "correct horse battery staple",
		"too short":    base64.StdEncoding.EncodeToString(raw[:31]),
		"too long":     base64.StdEncoding.EncodeToString(append(raw, 1)),
		"two in one":   key + key,
		"typed in":     strings.Repeat("0", 64),
		"torn hex":     hex.EncodeToString(raw)[1:],
	} {
		err := begin(t, &signpost.Server{Data: t.TempDir(), MasterKeys: "# first\n" + text})
		if !errors.Is(err, signpost.ErrMasterKey) || !strings.Contains(err.Error(), "line 2: expected ") || strings.Contains(err.Error(), text) {
			t.Errorf("%s: got %v, want an error that names the line and not the key", name, err)
		}
	}
}

// A file that others can read is no place for a key.
func TestMasterKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.key")
	file := func(text string, mode os.FileMode) error {
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // whatever the umask
			t.Fatal(err)
		}
		return begin(t, &signpost.Server{Data: t.TempDir(), MasterKeyFile: path})
	}
	for _, mode := range []os.FileMode{0o600, 0o400, 0o640, 0o440} {
		if err := file(signpost.NewMasterKey()+"\n", mode); err != nil {
			t.Errorf("mode %o: %v", mode, err)
		}
		os.Remove(path)
	}
	if runtime.GOOS != "windows" {
		for _, mode := range []os.FileMode{0o644, 0o604, 0o660, 0o666, 0o602, 0o777} {
			err := file(signpost.NewMasterKey(), mode)
			if !errors.Is(err, signpost.ErrMasterKey) || !strings.Contains(err.Error(), "chmod 600") {
				t.Errorf("mode %o: got %v, want a refusal that says what to do", mode, err)
			}
			os.Remove(path)
		}
	}
	for name, text := range map[string]string{"empty": "", "comment only": "# none yet\n", "too long": strings.Repeat("# x\n", 1<<15)} {
		if err := file(text, 0o600); !errors.Is(err, signpost.ErrMasterKey) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	err := begin(t, &signpost.Server{Data: t.TempDir(), MasterKeyFile: path + ".missing"})
	if !errors.Is(err, signpost.ErrMasterKey) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
}

// A production server says once that its data is not sealed.
func TestNoMasterKeyIsSaid(t *testing.T) {
	var log bytes.Buffer
	for _, keys := range []string{"", signpost.NewMasterKey()} {
		log.Reset()
		s := &signpost.Server{
			Addr: "127.0.0.1:0", Data: t.TempDir(), MasterKeys: keys, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		}
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		stop(t, s, time.Second)
		if got, want := strings.Count(log.String(), "no master key"), 1-min(1, len(keys)); got != want {
			t.Errorf("it is said %d times, want %d: %s", got, want, &log)
		}
	}
}

// A running server takes a new master key from its file, and lets go of the old
// one; nothing is lost, and the signing keys stay.
func TestRewrapOnline(t *testing.T) {
	dir, path := t.TempDir(), filepath.Join(t.TempDir(), "master.key")
	write := func(lines ...string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first, second := signpost.NewMasterKey(), signpost.NewMasterKey()
	write(first)
	s := &signpost.Server{Data: dir, MasterKeyFile: path}
	start(t, s)
	token := s.NewTenant.Token
	cl := clientOf(t, s, token)
	published, err := cl.Publish(t.Context(), client.PublishRequest{URL: "https://example.com", Body: []byte("kept"), Delay: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	before, err := cl.Sealing(t.Context())
	if err != nil || before.State != client.SealingDone {
		t.Fatalf("before: %+v, %v", before, err)
	}

	write(second) // the old one is forgotten: it is refused, and goes on as before
	if _, err := cl.Rewrap(t.Context()); err == nil || !strings.Contains(err.Error(), before.MasterKey) {
		t.Errorf("without the old key: %v", err)
	}
	write(second, first)
	now, err := cl.Rewrap(t.Context())
	if err != nil || now.MasterKey == before.MasterKey {
		t.Fatalf("rewrap: %+v, %v", now, err)
	}
	until(t, "all is sealed anew", func() bool {
		if now, err = cl.Sealing(t.Context()); err != nil {
			t.Fatal(err)
		}
		return now.State == client.SealingDone
	})
	if now.DataKeys != 1 || now.Resealed == 0 || now.Percent != 100 {
		t.Errorf("at the end: %+v", now)
	}
	stop(t, s, time.Second)

	write(second)
	s = start(t, &signpost.Server{Data: dir, MasterKeyFile: path})
	m, err := clientOf(t, s, token).Message(t.Context(), published.MessageID)
	if err != nil || m.Body != "kept" {
		t.Errorf("after a restart with the new key alone: %+v, %v", m, err)
	}
}
