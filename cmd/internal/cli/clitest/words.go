package clitest

import (
	"strings"

	"github.com/spf13/cobra"
)

// Words splits a command line as a shell does that knows quotes, and leaves out
// where its output goes.
func Words(line string) (words []string) {
	var word strings.Builder
	begun, quote := false, rune(0)
	end := func() {
		if begun {
			words = append(words, word.String())
		}
		word.Reset()
		begun = false
	}
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, begun = r, true
		case quote == 0 && (r == '>' || r == '|'):
			end()
			return words
		case quote == 0 && r == ' ':
			end()
		default:
			begun = true
			word.WriteRune(r)
		}
	}
	end()
	return words
}

// Examples are the command lines of a command's help.
func Examples(c *cobra.Command) (all []string) {
	for line := range strings.Lines(c.Example) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "  # ")
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, line)
		}
	}
	return all
}
