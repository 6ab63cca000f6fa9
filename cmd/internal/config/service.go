package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// ServiceFile is where the agent's unit has variables from.
const ServiceFile = "/etc/default/gvlan"

// ServiceEnviron is an environment, as os.Environ, with the variables besides that
// systemd gives the agent from a file; one that is not there has none.
func ServiceEnviron(file string, environ []string) ([]string, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return environ, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what the agent's service is given: %w", err)
	}
	have := map[string]bool{}
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		have[name] = true
	}
	given := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if name = strings.TrimSpace(name); !ok || have[name] || strings.HasPrefix(name, "#") || strings.HasPrefix(name, ";") {
			continue
		}
		given[name] = withoutQuotes(strings.TrimSpace(value))
	}
	for name, value := range given {
		environ = append(environ[:len(environ):len(environ)], name+"="+value)
	}
	return environ, nil
}

// withoutQuotes is a value as systemd.exec(5) reads it: as a whole in quotes of one kind,
// or as it stands.
func withoutQuotes(value string) string {
	for _, quote := range []string{`"`, `'`} {
		if inner, ok := strings.CutPrefix(value, quote); ok && strings.HasSuffix(inner, quote) {
			return strings.TrimSuffix(inner, quote)
		}
	}
	return value
}
