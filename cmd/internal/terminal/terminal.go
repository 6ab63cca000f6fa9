// Package terminal prints text that others chose: names come from other hosts
// and from whoever may start a container, and must not move the cursor, or make
// a row of a table.
package terminal

import (
	"io"
	"reflect"
	"strings"

	"gvlan/driver/visible"
)

// Writer is where commands and logs write to. It escapes control characters, so
// that a terminal shows them and does not obey them.
type Writer struct{ to io.Writer }

// NewWriter returns a Writer that writes to to.
func NewWriter(to io.Writer) Writer { return Writer{to: to} }

// Write implements io.Writer.
func (w Writer) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.to, visible.Text(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// InCells replaces line breaks and tabs in every text of what value points to,
// so that each stays in its cell of a table.
func InCells(value any) { fit(reflect.ValueOf(value).Elem()) }

var cells = strings.NewReplacer("\r\n", "; ", "\n", "; ", "\t", " ")

func fit(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if v.CanSet() {
			v.SetString(cells.Replace(v.String()))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			fit(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			fit(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fit(v.Field(i))
			}
		}
	case reflect.Map:
		if v.Type().Key().Kind() != reflect.String || v.Type().Elem().Kind() != reflect.String {
			return
		}
		for _, key := range v.MapKeys() {
			text := v.MapIndex(key).String()
			v.SetMapIndex(key, reflect.Value{})
			v.SetMapIndex(reflect.ValueOf(cells.Replace(key.String())).Convert(key.Type()), reflect.ValueOf(cells.Replace(text)).Convert(v.Type().Elem()))
		}
	}
}
