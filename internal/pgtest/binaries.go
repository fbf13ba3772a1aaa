package pgtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
)

const oldest = 15 // major version

// findBinaries is the directory of the newest server programs: Debian keeps
// them out of PATH, one directory per version.
func findBinaries() (dir string, err error) {
	candidates, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is well formed
	if path, err := exec.LookPath("initdb"); err == nil {
		// What stands in PATH may be a link to one program without its siblings.
		if path, err = filepath.EvalSymlinks(path); err == nil {
			candidates = append(candidates, filepath.Dir(path))
		}
	}
	newest := oldest - 1
	for _, c := range candidates {
		if v := version(c); v > newest && complete(c) {
			dir, newest = c, v
		}
	}
	if dir == "" {
		return "", errNoBinaries
	}
	return dir, nil
}

func complete(dir string) bool {
	for _, program := range []string{"initdb", "pg_ctl", "postgres"} {
		if _, err := os.Stat(filepath.Join(dir, program)); err != nil {
			return false
		}
	}
	return true
}

var versionPattern = regexp.MustCompile(`PostgreSQL\) (\d+)`)

// version is the major version of the programs in a directory, 0 if they don't say.
func version(dir string) int {
	out, err := exec.Command(filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return 0
	}
	return parseVersion(string(out))
}

func parseVersion(text string) int {
	found := versionPattern.FindStringSubmatch(text)
	if found == nil {
		return 0
	}
	major, err := strconv.Atoi(found[1])
	if err != nil {
		panic(fmt.Sprintf("digits that are no number: %v", err))
	}
	return major
}
