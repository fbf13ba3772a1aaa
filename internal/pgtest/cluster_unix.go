//go:build unix

package pgtest

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// cluster is a server with everything it has in one temporary directory.
type cluster struct {
	dsn   string
	alive io.Closer // the watch stops the server when this is closed
	watch *exec.Cmd
}

// watchScript starts the server and waits for the end of its standard input,
// which comes when this process closes it or ends in whatever way, killed or
// in a panic; then it stops the server and removes the directory. It ignores
// the signals of a terminal's ctrl-C, which would end it before its work.
const watchScript = `
trap '' HUP INT PIPE
bin=$1 dir=$2 options=$3
stop() {
	"$bin/pg_ctl" stop -s -w -m fast -D "$dir/data" >>"$dir/log" 2>&1 || "$bin/pg_ctl" stop -s -m immediate -D "$dir/data" >>"$dir/log" 2>&1
}
if "$bin/pg_ctl" start -s -w -t 60 -D "$dir/data" -l "$dir/log" -o "$options" </dev/null >/dev/null 2>&1; then
	echo up
	read -r _
	stop
else
	tail -n 5 "$dir/log"
	stop
fi
cd / && rm -rf "$dir"
`

// A test's data need not outlive its process, so nothing waits for the disk;
// commits are otherwise what they are in production. The widest part of the
// suite holds two stores of 16 connections each.
const serverSettings = "-c fsync=off -c full_page_writes=off -c synchronous_commit=on -c max_connections=100 -c shared_buffers=64MB " +
	"-c listen_addresses=127.0.0.1 -c unix_socket_directories=''"

const portTries = 3

// startCluster starts a server on a free port. The port may be taken between
// finding and using it; then another is tried.
func startCluster(bin string) (c *cluster, err error) {
	for range portTries {
		if c, err = tryStart(bin); err == nil {
			return c, nil
		}
	}
	return nil, fmt.Errorf("start PostgreSQL from %s: %w", bin, err)
}

func tryStart(bin string) (_ *cluster, err error) {
	owner, err := unprivileged()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "signpost-pgtest-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	password := rand.Text()
	passwordFile := filepath.Join(dir, "password")
	if err := os.WriteFile(passwordFile, []byte(password), 0o600); err != nil {
		return nil, err
	}
	if owner != nil {
		for _, path := range []string{dir, passwordFile} {
			if err := os.Chown(path, int(owner.Uid), int(owner.Gid)); err != nil {
				return nil, err
			}
		}
	}
	initdb := command(owner, dir, filepath.Join(bin, "initdb"), "--pgdata="+filepath.Join(dir, "data"),
		"--username=signpost", "--pwfile="+passwordFile, "--auth=password", "--encoding=UTF8", "--locale=C", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, bytes.TrimSpace(out))
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	c := &cluster{dsn: fmt.Sprintf("postgres://signpost:%s@127.0.0.1:%d/postgres?sslmode=disable", password, port)}
	c.watch = command(owner, dir, "/bin/sh", "-c", watchScript, "sh", bin, dir, serverSettings+" -p "+strconv.Itoa(port))
	return c, c.start()
}

// start runs the watch and waits for the server to take connections.
func (c *cluster) start() error {
	var err error
	if c.alive, err = c.watch.StdinPipe(); err != nil {
		return err
	}
	out, err := c.watch.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.watch.Start(); err != nil {
		return err
	}
	said := bufio.NewReader(out)
	first, _ := said.ReadString('\n') // at the end of the output: what came before it
	if first == "up\n" {
		return nil
	}
	rest, _ := io.ReadAll(said)
	c.watch.Wait()
	return fmt.Errorf("server log: %s%s", first, rest)
}

func (c *cluster) stop() error {
	if err := c.alive.Close(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- c.watch.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-time.After(time.Minute):
		return errors.New("the server is still running after a minute")
	}
}

// command runs a program as owner, away from this process's terminal signals
// and settings.
func command(owner *syscall.Credential, dir, program string, args ...string) *exec.Cmd {
	c := exec.Command(program, args...)
	c.Dir = dir
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TMPDIR=" + dir}
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: owner}
	return c
}

// unprivileged is whom the server runs as, nil for this process's user. The
// server refuses to run as root.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("running as root, and there is no user postgres or nobody to run it as")
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
