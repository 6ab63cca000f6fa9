package frame

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/template"
	"text/template/parse"

	"gvlan/cmd/internal/terminal"
)

// format is what --format says: Docker's conventions, see
// https://docs.docker.com/engine/cli/formatting/.
type format struct {
	template *template.Template
	heads    []string // of a table; nil: none is wanted
}

// parseFormat reads a --format.
func parseFormat(text string) (*format, error) {
	body, table := strings.CutPrefix(text, "table ")
	if text == "json" {
		body = "{{json .}}"
	}
	if table {
		body = strings.ReplaceAll(body, `\t`, "\t")
	}
	parsed, err := template.New("").Funcs(template.FuncMap{
		"json": asJSON, "join": strings.Join, "lower": strings.ToLower, "upper": strings.ToUpper,
	}).Parse(strings.ReplaceAll(body, `\n`, "\n"))
	if err != nil {
		return nil, Misuse(fmt.Errorf("--format %q is no Go template, as '{{.Name}}': %w", text, err))
	}
	f := &format{template: parsed}
	if table {
		f.heads = headsOf(parsed.Root)
	}
	return f, nil
}

func asJSON(value any) (string, error) {
	text, err := json.Marshal(value)
	return string(text), err
}

// headsOf names each column of a table by the fields it shows.
func headsOf(root *parse.ListNode) []string {
	var line strings.Builder
	for _, node := range root.Nodes {
		switch node := node.(type) {
		case *parse.TextNode:
			line.Write(node.Text)
		case *parse.ActionNode:
			line.WriteString(fieldIn(node.Pipe))
		}
	}
	return strings.Split(strings.ToUpper(line.String()), "\t")
}

// fieldIn is the last field that a pipe reads.
func fieldIn(pipe *parse.PipeNode) string {
	for _, command := range pipe.Cmds {
		for _, arg := range command.Args {
			if field, ok := arg.(*parse.FieldNode); ok {
				return field.Ident[len(field.Ident)-1]
			}
		}
	}
	return ""
}

// printFormat prints each item by a template, which may name a field that is
// not there: that shows only now.
func printFormat[T any](out io.Writer, f *format, items []T) error {
	table := terminal.Table{Heads: f.heads}
	for _, item := range items {
		var line bytes.Buffer
		if err := f.template.Execute(&line, item); err != nil {
			return Misuse(fmt.Errorf("--format: %w", err))
		}
		if f.heads == nil {
			if _, err := fmt.Fprintln(out, line.String()); err != nil {
				return err
			}
			continue
		}
		table.Rows = append(table.Rows, strings.Split(line.String(), "\t"))
	}
	if f.heads == nil {
		return nil
	}
	return table.Print(out)
}
