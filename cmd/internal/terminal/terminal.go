// Package terminal prints text that others chose: names come from other hosts
// and from whoever may start a container, and must not move the cursor, or make
// a row of a table.
package terminal

import (
	"io"
	"os"
	"reflect"
	"strings"

	"golang.org/x/sys/unix"

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

// Is reports whether out is a terminal.
func Is(out io.Writer) bool { return widthOf(out) != tallEdge }

// Width is how many columns the terminal has that is written to; 0 when it is
// none.
func (w Writer) Width() int {
	file, ok := w.to.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ) // ioctl_tty(2)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

// RenewLine puts text in place of the last line of a terminal, which RenewLine
// wrote; "" takes it away. What does not fit the terminal is cut off.
func RenewLine(out io.Writer, text string) {
	w, ok := out.(Writer)
	if !ok {
		return
	}
	text = visible.Text(text)
	if runes := []rune(text); len(runes) >= w.Width() && w.Width() > 0 {
		text = string(runes[:w.Width()-1])
	}
	const start = "\r\x1b[K" // console_codes(4): to the line's begin, and erase it
	io.WriteString(w.to, start+text)
}

// InCells replaces line breaks and tabs in every text of what value points to,
// so that each stays in its cell of a table.
func InCells(value any) { fit(reflect.ValueOf(value).Elem()) }

var cells = strings.NewReplacer("\r\n", "; ", "\n", "; ", "\t", " ")

func fit(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if text := v.String(); v.CanSet() && strings.ContainsAny(text, "\n\t") {
			v.SetString(cells.Replace(text))
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
			if field := v.Field(i); field.CanSet() {
				fit(field)
			}
		}
	case reflect.Map:
		if v.Type().Key().Kind() != reflect.String {
			return
		}
		for _, key := range v.MapKeys() {
			value := reflect.New(v.Type().Elem()).Elem()
			value.Set(v.MapIndex(key))
			fit(value)
			v.SetMapIndex(key, reflect.Value{})
			v.SetMapIndex(reflect.ValueOf(cells.Replace(key.String())).Convert(key.Type()), value)
		}
	}
}
