package parentfile

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/BurntSushi/toml"
)

// Decode reads the content of a parent file. Where the first line with text
// is a [section] or an assignment it is TOML with `parent` (a string or a list
// of strings, each as `-o parent=` takes it) at the top level or under
// [macvlan] or [ipvlan], and a `version` that is not looked at; unknown keys
// are refused. Else that line is the parent list and the rest is ignored.
// Lines that begin with # are comments. Every error is a *FileError without a
// path.
func Decode(data []byte) (File, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	line, number := firstText(string(data))
	switch {
	case line == "":
		return File{}, &FileError{Err: ErrFile, Text: "it is empty, write for example parent = \"eth0\""}
	case looksLikeTOML(line):
		return decodeTOML(string(data))
	}
	list, err := Parse(line)
	if err != nil {
		return File{}, &FileError{Line: number, Err: ErrFile, Text: err.Error()}
	}
	if list.Empty() {
		return File{}, &FileError{Line: number, Err: ErrFile, Text: "it names no parent, write for example parent = \"eth0\""}
	}
	return File{Top: list}, nil
}

// firstText gives the first line that is neither blank nor a comment, without
// a comment behind it, and its 1-based number.
func firstText(s string) (string, int) {
	number := 0
	for line := range strings.Lines(s) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if at := strings.Index(line, " #"); at >= 0 {
			line = strings.TrimSpace(line[:at])
		}
		return line, number
	}
	return "", 0
}

func looksLikeTOML(line string) bool {
	return strings.Contains(line, "=") || strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]")
}

// section is the shape of the top level and of a kind's table alike.
type section struct {
	Version   ignored `toml:"version"`
	Parent    names   `toml:"parent"`
	HostIface names   `toml:"host_iface"`
}

type document struct {
	section
	Macvlan section `toml:"macvlan"`
	Ipvlan  section `toml:"ipvlan"`
}

// names is a string or a list of strings.
type names []string

// UnmarshalTOML implements toml.Unmarshaler.
func (n *names) UnmarshalTOML(v any) error {
	switch v := v.(type) {
	case string:
		*n = names{v}
		return nil
	case []any:
		for _, item := range v {
			s, ok := item.(string)
			if !ok {
				return errors.New("parent takes names in quotes")
			}
			*n = append(*n, s)
		}
		return nil
	}
	return errors.New("parent takes a name in quotes or a list of them")
}

// ignored takes any value, so that `version` may be a string or a number.
type ignored struct{}

// UnmarshalTOML implements toml.Unmarshaler.
func (*ignored) UnmarshalTOML(any) error { return nil }

func decodeTOML(text string) (File, error) {
	var doc document
	meta, err := toml.Decode(text, &doc)
	if err != nil {
		return File{}, tomlError(err)
	}
	for _, key := range meta.Undecoded() {
		return File{}, &FileError{
			Line: lineOf(text, key[len(key)-1]),
			Err:  ErrFile,
			Text: fmt.Sprintf("unknown key %q; known are version and parent, at the top level or under [macvlan] or [ipvlan]", key.String()),
		}
	}
	var f File
	for _, part := range []struct {
		from section
		to   *List
	}{{doc.section, &f.Top}, {doc.Macvlan, &f.Macvlan}, {doc.Ipvlan, &f.Ipvlan}} {
		if err := f.fill(text, part.from, part.to); err != nil {
			return File{}, err
		}
	}
	return f, nil
}

func (f *File) fill(text string, from section, to *List) error {
	given := from.Parent
	if len(given) == 0 && len(from.HostIface) > 0 {
		given, f.Old = from.HostIface, true
	}
	list, err := Parse(strings.Join(given, ","))
	if err != nil {
		return &FileError{Line: lineOf(text, given[0]), Err: ErrFile, Text: err.Error()}
	}
	*to = list
	return nil
}

func tomlError(err error) error {
	var at toml.ParseError
	if !errors.As(err, &at) {
		return &FileError{Err: ErrFile, Text: escape(err.Error()) + `, write for example parent = "eth0"`}
	}
	return &FileError{
		Line: at.Position.Line,
		Err:  ErrFile,
		Text: escape(at.Message) + `; write for example parent = "eth0", the name in quotes`,
	}
}

// escape keeps on one line what the decoder quotes raw from the file.
func escape(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
	}
	return b.String()
}

// lineOf finds the first line that holds word outside a comment: the decoder
// keeps no positions of keys.
func lineOf(text, word string) int {
	number := 0
	for line := range strings.Lines(text) {
		number++
		if !strings.HasPrefix(strings.TrimSpace(line), "#") && strings.Contains(line, word) {
			return number
		}
	}
	return 0
}
