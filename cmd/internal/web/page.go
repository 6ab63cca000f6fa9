package web

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/facts"
	"gvlan/cmd/internal/terminal"
	"gvlan/driver/visible"
)

// page is what a view has made.
type page struct {
	Template string // html/TEMPLATE.html
	Title    string
	Status   int    // of HTTP; 0: 200
	Under    string // path of the view that it is a part of; "" for none
	JSON     string // route of what it shows; "" for none
	Still    bool   // it is an answer of its time, that no page asks for again by itself
	Data     any    // of the template, as .Data
}

// frame is a page with what is around it; html/frame.html shows it.
type frame struct {
	Host, Version string
	Title         string
	At, Under     string // path of the page, and of the view that it is a part of
	Sought        string // what was looked for
	Now           time.Time
	Problems      []api.Problem
	JSON          string // route of what it shows; "" for none
	Still         bool   // it stays as it is
	Data          any
}

//go:embed html
var html embed.FS

// templates are by their name, each within the frame and with the parts.
type templates map[string]*template.Template

// parsed are those that are embedded: what cannot be read is a mistake of who built
// this.
func parsed() templates {
	all := templates{}
	names, err := fs.Glob(html, "html/*.html")
	if err != nil {
		panic(err)
	}
	outer := template.Must(template.New("frame.html").Funcs(functions()).ParseFS(html, "html/frame.html", "html/parts.html"))
	for _, name := range names {
		if base := path.Base(name); base != "frame.html" && base != "parts.html" {
			all[strings.TrimSuffix(base, ".html")] = template.Must(template.Must(outer.Clone()).ParseFS(html, name))
		}
	}
	return all
}

// functions are those of templates. Text is escaped by html/template, and what
// would be no character of a line by write.
func functions() template.FuncMap {
	return template.FuncMap{
		"clock":   terminal.Clock,
		"counted": facts.Counted, // {{counted .Hosts "host"}}
		"dict":    dict,
		"span":    terminal.Since, // {{span .Since $.Now}}
		"stamp":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	}
}

// dict is what a template within another is given: names and values by turns.
func dict(pairs ...any) (map[string]any, error) {
	all := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict: %v is no name", pairs[i])
		}
		all[name] = pairs[i+1]
	}
	return all, nil
}

// write makes a page. Whatever others called their things, what is written has
// printable characters only (visible.Text): none that turns the direction of what
// follows or passes for nothing.
func (t templates) write(w io.Writer, f frame, p page) error {
	one, known := t[p.Template]
	if !known {
		return fmt.Errorf("there is no template html/%s.html", p.Template)
	}
	var made bytes.Buffer
	if err := one.ExecuteTemplate(&made, "frame.html", f); err != nil {
		return err
	}
	_, err := io.WriteString(w, visible.Text(made.String()))
	return err
}
