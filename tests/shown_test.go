package tests

import (
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// A row of such a page ends, for whoever changes it, in a comment that names what
// shows it: `<!-- FOLDER Test; FOLDER Test: words that stand in a test there -->`.
var shownPages = []string{"driver/DEVIATIONS.md", "cluster/TROUBLESHOOTING.md"}

// TestRowsAreShown: each row of the pages that say what happens names tests that are
// there. The first heading begins the rows that count.
func TestRowsAreShown(t *testing.T) {
	for _, page := range shownPages {
		rows := 0
		for _, r := range pageRows(t, page) {
			rows++
			_, after, ok := strings.Cut(r.text, "<!-- ")
			by, _, ended := strings.Cut(after, " -->")
			if !ok || !ended {
				t.Errorf("%s:%d: no test is named", page, r.line)
				continue
			}
			for _, one := range strings.Split(by, "; ") {
				if why := notShown(t, one); why != "" {
					t.Errorf("%s:%d: %q: %s", page, r.line, one, why)
				}
			}
		}
		if rows == 0 {
			t.Errorf("%s has no row", page)
		}
	}
}

// notShown is why what a row names does not show it, "" where it does.
func notShown(t *testing.T, named string) string {
	t.Helper()
	named, words, _ := strings.Cut(named, ": ")
	folder, test, ok := strings.Cut(named, " ")
	if !ok || !strings.HasPrefix(test, "Test") {
		return "want FOLDER Test"
	}
	files, err := filepath.Glob(filepath.Join(root, folder, "*_test.go"))
	if err != nil || len(files) == 0 {
		return "no tests are in that folder"
	}
	there, said := false, words == ""
	for _, path := range files {
		text := string(readFile(t, filepath.Join(folder, filepath.Base(path))))
		there = there || strings.Contains(text, "\nfunc "+test+"(")
		said = said || strings.Contains(text, words)
	}
	switch {
	case !there:
		return "no such test"
	case !said:
		return "no test there has these words"
	}
	return ""
}

// TestMessagesAreTheCodes: what a page gives as a message, in code in the first cell
// of a table whose head says "message", is said by the product; `...` stands for what
// differs.
func TestMessagesAreTheCodes(t *testing.T) {
	said := productStrings(t)
	messages := 0
	for _, page := range shownPages {
		for _, r := range pageRows(t, page) {
			if r.head != "message" {
				continue
			}
			_, after, _ := strings.Cut(r.text, "`")
			message, _, _ := strings.Cut(after, "`")
			messages++
			for part := range strings.SplitSeq(message, "...") {
				if part = strings.TrimSpace(part); !strings.Contains(said, part) {
					t.Errorf("%s:%d: nothing says %q", page, r.line, part)
				}
			}
		}
	}
	if messages == 0 {
		t.Error("no message was compared")
	}
}

// pageRow is a row of a table below a heading of the second rank.
type pageRow struct {
	line int
	head string // first cell of the table's head
	text string
}

func pageRows(t *testing.T, page string) (rows []pageRow) {
	t.Helper()
	lines := strings.Split(string(readFile(t, page)), "\n")
	counts, head := false, ""
	for i, line := range lines {
		counts = counts || strings.HasPrefix(line, "## ")
		switch {
		case !strings.HasPrefix(line, "|"):
			head = ""
		case head == "":
			head = strings.TrimSpace(strings.Split(line, "|")[1])
		case counts && !strings.HasPrefix(line, "|--"):
			rows = append(rows, pageRow{i + 1, head, line})
		}
	}
	return rows
}

var (
	textOf = regexp.MustCompile("\"(?:[^\"\\\\]|\\\\.)*\"|`[^`]*`")
	joined = regexp.MustCompile(`"\s*\+\s*"`)
)

// productStrings are the texts of the product's source, a line each.
func productStrings(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, path := range repoFiles(t, ".go") {
		if isTest(path) || strings.HasPrefix(path, "tests/") {
			continue
		}
		for _, text := range textOf.FindAllString(joined.ReplaceAllString(string(readFile(t, path)), ""), -1) {
			if s, err := strconv.Unquote(text); err == nil {
				all.WriteString(s + "\n")
			}
		}
	}
	return all.String()
}
