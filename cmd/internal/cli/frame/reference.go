package frame

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// Reference is the table of all commands of a tree, as cmd/gvlan/README.md has it.
func Reference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("| command | |\n|---|---|\n")
	for _, c := range Commands(root) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", strings.ReplaceAll(Synopsis(c), "|", `\|`), strings.ReplaceAll(c.Short, "|", `\|`))
	}
	return b.String()
}

// Commands are those of a tree that do something, but for the ones cobra adds to
// every tree.
func Commands(root *cobra.Command) (all []*cobra.Command) {
	for _, c := range root.Commands() {
		switch {
		case c.Hidden, c.Name() == "help", c.Name() == "completion":
		case c.HasSubCommands():
			all = append(all, Commands(c)...)
		default:
			all = append(all, c)
		}
	}
	return all
}

// Synopsis is how a command is typed, without its flags.
func Synopsis(c *cobra.Command) string {
	_, arguments, _ := strings.Cut(c.Use, " ")
	return strings.TrimSpace(c.CommandPath() + " " + arguments)
}
