package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWebPassword is read from a file that is the agent's alone, as other secrets
// are without the line's end, and is never in an error.
func TestWebPassword(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	write := func(text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	read := func() (string, error) {
		c := Config{Web: Web{Listen: "0.0.0.0:8470", PasswordFile: path}}
		err := c.ReadSecrets()
		return c.Web.Password, err
	}
	write(" open sesame\n", 0o640)
	if got, err := read(); err != nil || got != "open sesame" {
		t.Errorf("read %q, %v", got, err)
	}
	for name, mode := range map[string]os.FileMode{"read": 0o604, "write": 0o602} {
		write("open sesame\n", mode)
		if got, err := read(); err == nil || got != "" || !strings.Contains(err.Error(), fmt.Sprintf("--web-password-file: every user of the host has access to %s (mode %04o): chmod 600 %[1]s", path, mode)) {
			t.Errorf("others may %s it: %q, %v", name, got, err)
		}
	}
	write("sesame\n", 0o600)
	if _, err := read(); err == nil || !strings.Contains(err.Error(), "--web-password-file: the password has 6 characters") || strings.Contains(err.Error(), "sesame") {
		t.Errorf("a short one: %v", err)
	}
	write("\n", 0o600)
	if _, err := read(); err == nil || !strings.Contains(err.Error(), path+" is empty") {
		t.Errorf("an empty one: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := read(); err == nil || !strings.Contains(err.Error(), "read --web-password-file: ") {
		t.Errorf("none: %v", err)
	}
}

// TestWebOnHost: a managed plugin reads the host's files.
func TestWebOnHost(t *testing.T) {
	c := Config{Swarm: true, Web: Web{Cert: "/c", Key: "/k", PasswordFile: "/p"}}
	c.OnHost()
	if got := []string{c.Web.Cert, c.Web.Key, c.Web.PasswordFile}; strings.Join(got, " ") != hostRoot+"/c "+hostRoot+"/k "+hostRoot+"/p" {
		t.Errorf("the plugin reads %q", got)
	}
}

// TestWebWithTLS: whatever others may reach has it.
func TestWebWithTLS(t *testing.T) {
	for at, want := range map[string]bool{
		"127.0.0.1:1": false, "127.9.9.9:1": false, "[::1]:1": false, "[::ffff:127.0.0.1]:1": false,
		"0.0.0.0:1": true, "[::]:1": true, "192.168.1.10:1": true, "localhost:1": true, "[fe80::1%eth0]:1": true,
	} {
		if w := (Web{Listen: at}); w.TLS() != want {
			t.Errorf("TLS at %s is %v", at, w.TLS())
		}
	}
	if !(Web{Listen: "127.0.0.1:1", Cert: "c"}).TLS() {
		t.Error("a certificate that is given is not used")
	}
}
