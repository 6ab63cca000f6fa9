// Package typed reads what a page has its reader type, for suites that type it.
package typed

import (
	"os"
	"strings"
)

// Lines is the first block of lines that a section of a Markdown page has indented,
// without their comments.
func Lines(page, section string) (lines []string, err error) {
	content, err := os.ReadFile(page)
	if err != nil {
		return nil, err
	}
	_, text, _ := strings.Cut(string(content), "\n## "+section+"\n")
	text, _, _ = strings.Cut(text, "\n## ")
	for line := range strings.Lines(text) {
		line, code := strings.CutPrefix(line, "    ")
		if !code && lines != nil {
			break
		}
		if code {
			line, _, _ = strings.Cut(line, "  #")
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines, nil
}
