package main

import (
	"context"
	"errors"
	"log/slog"
)

// runAgent builds the agent out of its parts and runs it until ctx ends.
func runAgent(ctx context.Context, c Config, self identity, log *slog.Logger) error {
	return errors.New("the agent's parts are not wired together yet")
}
