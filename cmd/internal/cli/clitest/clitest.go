// Package clitest types gvlan's commands in tests, against an agent whose
// answers the test gives.
package clitest

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/frame"
)

// Answers are an agent's, by a pattern of http.ServeMux ("GET /v1/status"): an
// error, a func(*http.Request) (any, error), a func(*http.Request, func(any)
// error) error that streams, or else what is sent as JSON.
type Answers map[string]any

// Agent serves the answers until the test ends, and returns its status socket.
func Agent(t *testing.T, answers Answers) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "gvlan.sock")
	server, err := api.NewServer(socket, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for pattern, answer := range answers {
		if stream, is := answer.(func(*http.Request, func(any) error) error); is {
			server.Stream(pattern, stream)
			continue
		}
		server.Handle(pattern, func(r *http.Request) (any, error) {
			switch answer := answer.(type) {
			case error:
				return nil, answer
			case func(*http.Request) (any, error):
				return answer(r)
			}
			return answer, nil
		})
	}
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	t.Cleanup(func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return socket
}

// Typed is what a command printed, and its exit status.
type Typed struct {
	Out, Err string
	Status   int
}

// Type runs `gvlan ARGS`, of which command is the first, asking the agent of that
// socket; "" for a command that asks none. What it says of waiting for, which a busy
// machine decides, is left out of Err.
func Type(t *testing.T, command *cobra.Command, socket string, args ...string) Typed {
	t.Helper()
	root := &cobra.Command{Use: "gvlan"}
	root.AddCommand(command)
	args = append([]string{command.Name()}, args...)
	if socket != "" {
		args = append(args, "--status-socket", socket)
	}
	var out, err bytes.Buffer
	status := frame.Run(t.Context(), root, args, &out, &err)
	return Typed{Out: out.String(), Err: waits.ReplaceAllString(err.String(), ""), Status: status}
}

var waits = regexp.MustCompile(`(?m)^waiting for .*\n`)

var blanks = regexp.MustCompile(` +`)

// Lines are those of a text that are not empty, their columns one blank apart.
func Lines(text string) (all []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(blanks.ReplaceAllString(line, " ")); line != "" {
			all = append(all, line)
		}
	}
	return all
}
