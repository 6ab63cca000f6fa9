package frame

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"

	"gvlan/cmd/internal/terminal"
	"gvlan/ipam/pool"
)

// format is what --format says: Docker's conventions, see
// https://docs.docker.com/engine/cli/formatting/.
type format struct {
	template *template.Template
	heads    []string // of a table; nil: none is wanted
}

// parseFormat reads a --format of items of a type.
func parseFormat(text string, item reflect.Type) (*format, error) {
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
	if missing := unknownField(parsed.Root, item); missing != "" {
		return nil, Misuse(fmt.Errorf("--format %q: there is no .%s%s", text, missing, thereIs(missing, item)))
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

// unknownField is the first field that a template wants of an item and that its
// type has not; "": none. It is looked for where the dot is the item.
func unknownField(node parse.Node, item reflect.Type) string {
	var below []parse.Node
	switch node := node.(type) {
	case *parse.ListNode:
		if node != nil {
			below = node.Nodes
		}
	case *parse.ActionNode:
		below = []parse.Node{node.Pipe}
	case *parse.IfNode:
		below = []parse.Node{node.Pipe, node.List, node.ElseList}
	case *parse.WithNode:
		below = []parse.Node{node.Pipe, node.ElseList}
	case *parse.RangeNode:
		below = []parse.Node{node.Pipe, node.ElseList}
	case *parse.PipeNode:
		for _, command := range node.Cmds {
			below = append(below, command.Args...)
		}
	case *parse.FieldNode:
		if !slices.Contains(foundIn(item), node.Ident[0]) {
			return node.Ident[0]
		}
	}
	for _, node := range below {
		if missing := unknownField(node, item); missing != "" {
			return missing
		}
	}
	return ""
}

// fieldsOf are the fields that an item has.
func fieldsOf(item reflect.Type) (all []string) {
	for _, f := range reflect.VisibleFields(item) {
		if f.IsExported() && !f.Anonymous {
			all = append(all, f.Name)
		}
	}
	return all
}

// foundIn are the fields and methods that a template finds in an item.
func foundIn(item reflect.Type) []string {
	all := fieldsOf(item)
	for i := range item.NumMethod() {
		all = append(all, item.Method(i).Name)
	}
	return all
}

// thereIs ends a sentence about a field that is none.
func thereIs(missing string, item reflect.Type) string {
	all := fieldsOf(item)
	if near := pool.Nearest(missing, all); near != "" {
		return "; did you mean ." + near + "?"
	}
	return "; there are ." + strings.Join(all, ", .")
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

// printFormat prints each item by a template, which may name a field further below
// that is not there: that shows only now.
func printFormat[T any](out io.Writer, f *format, items []T) error {
	table := terminal.Table{Heads: f.heads}
	if f.heads != nil {
		terminal.InCells(&items)
	}
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
