package store_test

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
	"github.com/signposthq/signpost/internal/store"
)

func openDir(t testing.TB, dir string) engine.Store {
	t.Helper()
	return open(t, func() (engine.Store, error) { return store.OpenSQLite(context.Background(), dir) })
}

// A directory is one process's: a second opener is told so at once, and the
// first does not notice. When it is closed it is free.
func TestDirectoryIsInUse(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	for range 2 {
		if _, err := store.OpenSQLite(context.Background(), dir); !errors.Is(err, store.ErrInUse) || !strings.Contains(err.Error(), dir) {
			t.Fatalf("got %v, want ErrInUse with the directory's name", err)
		}
	}
	insertMessages(t, s, message(1))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	equal(t, "messages", messages(t, openDir(t, dir), 1), []*engine.Message{message(1)})
}

// What can't be opened is left as it was found, and not held.
func TestOpenFails(t *testing.T) {
	garbage := []byte(strings.Repeat("this is no database", 1000))
	tests := []struct {
		name    string
		prepare func(t *testing.T, dir string)
		want    string
	}{
		{"not a database", func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "signpost.db"), garbage, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "not a database"},
		{"a directory in its place", func(t *testing.T, dir string) {
			if err := os.Mkdir(filepath.Join(dir, "signpost.db"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, "is a directory"},
		{"of a newer version", func(t *testing.T, dir string) {
			if err := openDir(t, dir).Close(); err != nil {
				t.Fatal(err)
			}
			db := openSQL(t, "sqlite", filepath.Join(dir, "signpost.db"))
			defer db.Close()
			if _, err := db.Exec(`insert into migrations (name) values ('migrations/9999_future.sql')`); err != nil {
				t.Fatal(err)
			}
		}, "newer version"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			test.prepare(t, dir)
			for range 2 { // not ErrInUse the second time
				s, err := store.OpenSQLite(context.Background(), dir)
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("got %v, want an error with %q", err, test.want)
				}
				if s != nil {
					t.Fatalf("got a store (%T) along with the error", s)
				}
			}
			if files := openFiles(t, dir); len(files) > 0 {
				t.Errorf("still open: %v", files)
			}
			if test.name == "not a database" {
				left, err := os.ReadFile(filepath.Join(dir, "signpost.db"))
				if err != nil || string(left) != string(garbage) {
					t.Errorf("the file was written to (%v)", err)
				}
			}
		})
	}
}

// A closed store has brought everything into its one file and holds nothing.
func TestCloseLeavesOneFile(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	insertMessages(t, s, message(1))
	messages(t, s, 1)
	if runtime.GOOS == "linux" && len(openFiles(t, dir)) == 0 {
		t.Error("an open store has no open files: openFiles does not see them")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if files := openFiles(t, dir); len(files) > 0 {
		t.Errorf("still open: %v", files)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	equal(t, "files", names, []string{"signpost.db", "signpost.lock"})
}

// A relative directory is one like any other.
func TestRelativeDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	insertMessages(t, openDir(t, "data"), message(1))
	if _, err := os.Stat(filepath.Join("data", "signpost.db")); err != nil {
		t.Error(err)
	}
}

// Pages are of the size that was measured to be best, which only a new file's
// can be.
func TestPageSize(t *testing.T) {
	dir := t.TempDir()
	if err := openDir(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(dir, "signpost.db"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "page size", int(binary.BigEndian.Uint16(file[16:])), 8192)
}

// openFiles are those of this process that lie in a directory. Where the
// system does not tell, there are none.
func openFiles(t *testing.T, dir string) (files []string) {
	t.Helper()
	const own = "/proc/self/fd"
	entries, err := os.ReadDir(own)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		file, err := os.Readlink(filepath.Join(own, e.Name()))
		if err == nil && strings.HasPrefix(file, dir) {
			files = append(files, file)
		}
	}
	return files
}
