package docker_test

import (
	"fmt"
	"os"
	"strings"

	"github.com/google/go-cmp/cmp"
)

// example is a command that dns/README.md shows, and what it prints there.
type example struct {
	command string
	output  []string // lines, blanks made one
}

// namesInREADME types what dns/README.md shows, on the network and the
// containers of the quick start: web on one host, db on the other, where
// everything is typed.
func namesInREADME(n *named) {
	h1, h2 := n.Hosts[0], n.Hosts[1]
	n.network(h1, "lan", "--subnet", "192.168.1.0/24", "--gateway", "192.168.1.1", "--ip-range", "192.168.1.128/25", "-o", "parent=eth1")
	n.run(h1, "lan", "web")
	n.run(h2, "lan", "db")
	text := must(os.ReadFile("../../dns/README.md"))(n.t)
	examples := examplesIn(string(text), "As typed")
	for _, tool := range []string{"dig ", "docker exec db nslookup "} {
		if !hasExample(examples, tool) {
			n.t.Errorf("dns/README.md shows no %s", tool)
		}
	}
	for _, e := range examples {
		eventually(n.t, "dns/README.md: "+e.command, func() error {
			words := strings.Fields(e.command)
			var out string
			var err error
			if words[0] == "dig" {
				out, err = digOn(h2, words[1:]...)
			} else {
				out, err = h2.Exec(n.t.Context(), words[0], words[1:]...)
			}
			if diff := cmp.Diff(e.output, linesOf(out)); err == nil && diff != "" {
				err = fmt.Errorf("it prints (-README +printed):\n%s", diff)
			}
			return err
		})
	}
}

// examplesIn reads the indented examples of one section: lines that begin
// with "$ " are typed, the others printed.
func examplesIn(text, section string) (all []example) {
	_, text, _ = strings.Cut(text, "\n## "+section+"\n")
	text, _, _ = strings.Cut(text, "\n## ")
	for line := range strings.Lines(text) {
		code, indented := strings.CutPrefix(strings.TrimRight(line, "\n"), "    ")
		if command, typed := strings.CutPrefix(code, "$ "); typed && indented {
			all = append(all, example{command: command})
		} else if indented && len(all) > 0 {
			last := &all[len(all)-1]
			last.output = append(last.output, linesOf(code)...)
		}
	}
	return all
}

func hasExample(all []example, prefix string) bool {
	for _, e := range all {
		if strings.HasPrefix(e.command, prefix) {
			return true
		}
	}
	return false
}

// linesOf are the lines that have something in them, blanks made one.
func linesOf(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 0 {
			lines = append(lines, strings.Join(words, " "))
		}
	}
	return lines
}
