//go:build unix

package store_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Messages and keys are their owner's to read, whatever the umask says.
func TestFilesAreTheOwnersAlone(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	root := t.TempDir()
	dir := filepath.Join(root, "new", "data")
	s := openDir(t, dir)
	insertMessages(t, s, message(1))
	messages(t, s, 1)
	found := map[string]fs.FileMode{}
	err := filepath.WalkDir(filepath.Join(root, "new"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(path)
		if err == nil {
			found[filepath.Base(path)] = info.Mode()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "modes", found, map[string]fs.FileMode{
		"new": fs.ModeDir | 0o700, "data": fs.ModeDir | 0o700,
		"signpost.db": 0o600, "signpost.db-wal": 0o600, "signpost.db-shm": 0o600, "signpost.lock": 0o600,
	})
}
