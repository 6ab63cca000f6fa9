package terminal

import (
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Table is text in columns. On a terminal it is not wider than that: the widest
// columns are broken into lines, at blanks and after commas where there are any.
// Elsewhere each row is one line.
type Table struct {
	Heads []string
	Rows  [][]string // an empty cell is shown as a dash
	Plain bool       // no heads, and an empty cell stays so: labels with what they stand for
}

const (
	gap      = 3  // blanks between columns
	narrow   = 10 // no column is broken into lines shorter than that
	noCell   = "-"
	tallEdge = 1 << 20 // width of what is no terminal
)

// Print prints the table.
func (t Table) Print(out io.Writer) error {
	var rows [][]string
	if !t.Plain {
		rows = append(rows, t.Heads)
	}
	for _, row := range t.Rows {
		row = slices.Clone(row)
		for i, cell := range row {
			if strings.TrimSpace(cell) == "" && !t.Plain {
				row[i] = noCell
			}
		}
		rows = append(rows, row)
	}
	widths := fitting(rows, widthOf(out))
	var text strings.Builder
	for _, row := range rows {
		layRow(&text, row, widths)
	}
	_, err := io.WriteString(out, text.String())
	return err
}

// layRow writes one row, on as many lines as its tallest cell.
func layRow(text *strings.Builder, row []string, widths []int) {
	var rest []string // what the lines so far have no room for; nil: nothing
	for i, cell := range row {
		line, more := broken(cell, widths[i])
		if more != "" && rest == nil {
			rest = make([]string, len(row))
		}
		if rest != nil {
			rest[i] = more
		}
		row[i] = line
	}
	for last := len(row) - 1; last >= 0 && strings.TrimRight(row[last], " ") == ""; last-- {
		row = row[:last] // a line ends with no blanks
	}
	for i, cell := range row {
		if i < len(row)-1 {
			text.WriteString(cell)
			for range widths[i] - utf8.RuneCountInString(cell) + gap {
				text.WriteByte(' ')
			}
		} else {
			text.WriteString(strings.TrimRight(cell, " "))
		}
	}
	text.WriteByte('\n')
	if rest != nil {
		layRow(text, rest, widths)
	}
}

// fitting are the widths of columns that together are no wider than the whole,
// where that can be.
func fitting(rows [][]string, whole int) []int {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for {
		over := gap*(len(widths)-1) - whole
		widest, second := 0, narrow
		for i, w := range widths {
			over += w
			if w > widths[widest] {
				widest = i
			}
		}
		for i, w := range widths {
			if i != widest {
				second = max(second, min(w, widths[widest]))
			}
		}
		if over <= 0 || len(widths) == 0 || widths[widest] <= narrow {
			return widths
		}
		if second == widths[widest] {
			second--
		}
		widths[widest] = max(widths[widest]-over, second)
	}
}

// broken is the first line of a cell that is no wider than that, and what follows.
func broken(cell string, width int) (line, rest string) {
	if len(cell) <= width || utf8.RuneCountInString(cell) <= width || width <= 0 {
		return cell, ""
	}
	runes := []rune(cell)
	at := width
	for i := width; i > 0; i-- {
		if runes[i] == ' ' || runes[i-1] == ',' || runes[i-1] == ' ' {
			at = i
			break
		}
	}
	return strings.TrimRight(string(runes[:at]), " "), strings.TrimLeft(string(runes[at:]), " ")
}

// widthOf is how many columns out has; tallEdge where it is no terminal.
func widthOf(out io.Writer) int {
	if w, ok := out.(interface{ Width() int }); ok && w.Width() > 0 {
		return w.Width()
	}
	return tallEdge
}

// OrDash is a dash for "": an empty cell is hard to see.
func OrDash(text string) string {
	if text == "" {
		return noCell
	}
	return text
}
