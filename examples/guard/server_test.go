package guard_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// server is a running web server.
type server struct {
	addr   string
	cmd    *exec.Cmd
	ended  chan struct{}
	mu     sync.Mutex
	output bytes.Buffer
}

func (s *server) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.output.Write(p)
}

func (s *server) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.output.String()
}

// runSite runs a configuration of this directory with the addresses of s in
// place of its own.
func runSite(t *testing.T, file string, s *site, run func(t *testing.T, config, addr string) *server) *server {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		addr := freeAddr(t)
		config := strings.NewReplacer(
			"listen 80;", "listen "+addr+";",
			"https://app.example.com {", "http://:"+addr[strings.LastIndexByte(addr, ':')+1:]+" {",
			"127.0.0.1:3000", s.endpoint.Listener.Addr().String(),
			"127.0.0.1:3001", s.guard.Listener.Addr().String(),
		).Replace(string(content))
		if web := run(t, config, addr); web != nil {
			return web
		}
	}
	t.Fatal("the web server does not come up: another program takes its port each time")
	return nil
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// need finds a program; without it the test is skipped, in CI it fails.
func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil { // Debian keeps servers out of a user's PATH
		path, err = exec.LookPath("/usr/sbin/" + program)
	}
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatalf("%s is not installed: scripts/test-deps does it", program)
	default:
		fmt.Fprintf(os.Stderr, "\n!!! THE CONFIGURATIONS OF %s WERE NOT TESTED: it is not installed, scripts/test-deps does it\n\n", strings.ToUpper(program))
		t.Skipf("%s is not installed", program)
	}
	return path
}

func runNginx(t *testing.T, config, addr string) *server {
	t.Helper()
	program, dir := need(t, "nginx"), t.TempDir()
	main := fmt.Sprintf(`daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr warn;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	scgi_temp_path %[1]s/scgi;
	uwsgi_temp_path %[1]s/uwsgi;
	include %[1]s/site.conf;
}
`, dir)
	write(t, filepath.Join(dir, "site.conf"), config)
	write(t, filepath.Join(dir, "nginx.conf"), main)
	return run(t, addr, exec.Command(program, "-e", "stderr", "-p", dir, "-c", filepath.Join(dir, "nginx.conf")))
}

func runCaddy(t *testing.T, config, addr string) *server {
	t.Helper()
	program, dir := need(t, "caddy"), t.TempDir()
	write(t, filepath.Join(dir, "Caddyfile"), "{\n\tadmin off\n}\n"+config)
	cmd := exec.Command(program, "run", "--config", filepath.Join(dir, "Caddyfile"), "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	return run(t, addr, cmd)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run starts a web server until the test ends, and waits until it listens. It
// returns nil if the address is taken.
func run(t *testing.T, addr string, cmd *exec.Cmd) *server {
	t.Helper()
	s := &server{addr: addr, cmd: cmd, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = s, s
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.ended)
		_ = cmd.Wait() // it is killed below
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-s.ended
		if t.Failed() {
			t.Logf("%s said:\n%s", cmd.Path, s.said())
		}
	})
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-tick.C {
		select {
		case <-s.ended:
			if strings.Contains(strings.ToLower(s.said()), "address already in use") {
				return nil
			}
			t.Fatalf("%s has ended:\n%s", cmd.Path, s.said())
		default:
		}
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return s
		}
	}
	t.Fatalf("%s does not listen:\n%s", cmd.Path, s.said())
	return nil
}
