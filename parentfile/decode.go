package parentfile

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// Decode reads the content of a parent file. Where the first line with text
// is a [section] or an assignment it is TOML with `parent` (a string or a list
// of strings, each as `-o parent=` takes it) at the top level or under
// [macvlan] or [ipvlan], and a `version` that is not looked at; unknown keys
// are refused. Else that line is the parent list and the rest is ignored.
// Lines that begin with # are comments. Every error is a *FileError without a
// path, in this package's own words: whoever may create networks may have any
// file of any host read, and must not be told what is in it.
func Decode(data []byte) (File, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	line, number := firstText(string(data))
	switch {
	case line == "":
		return File{}, &FileError{Err: ErrFile, Text: "it is empty, write for example parent = \"eth0\""}
	case looksLikeTOML(line):
		return decodeTOML(string(data))
	}
	list, err := parseFiled(line)
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
			Line: KeyLine(text, key...),
			Err:  ErrFile,
			Text: "it has an unknown key; known are version and parent, at the top level or under [macvlan] or [ipvlan]",
		}
	}
	var f File
	for _, part := range []struct {
		table []string // its key
		from  section
		to    *List
	}{{nil, doc.section, &f.Top}, {[]string{"macvlan"}, doc.Macvlan, &f.Macvlan}, {[]string{"ipvlan"}, doc.Ipvlan, &f.Ipvlan}} {
		if err := f.fill(text, part.table, part.from, part.to); err != nil {
			return File{}, err
		}
	}
	return f, nil
}

func (f *File) fill(text string, table []string, from section, to *List) error {
	given, key := from.Parent, "parent"
	if len(given) == 0 && len(from.HostIface) > 0 {
		given, key, f.Old = from.HostIface, "host_iface", true
	}
	list, err := parseFiled(strings.Join(given, ","))
	if err != nil {
		return &FileError{Line: KeyLine(text, append(slices.Clone(table), key)...), Err: ErrFile, Text: err.Error()}
	}
	*to = list
	return nil
}

// tomlError leaves the decoder's words out: they quote the file.
func tomlError(err error) error {
	bad := &FileError{Err: ErrFile, Text: `it is not what TOML allows here; write for example parent = "eth0", the name in quotes`}
	if at, ok := errors.AsType[toml.ParseError](err); ok {
		bad.Line = at.Position.Line
	}
	return bad
}

// parseFiled is Parse for the content of a file: what is wrong is said
// without the item, and candidates are called by their place.
func parseFiled(s string) (List, error) {
	list, err := Parse(s)
	bad, is := errors.AsType[*itemError](err)
	switch {
	case is && bad.what == "list":
		return List{}, errors.New("it only excludes interfaces, name one to use as well")
	case is:
		return List{}, fmt.Errorf("a name cannot be one: %w", bad.why)
	case err != nil:
		return List{}, errors.New("it is no list of interfaces")
	}
	for i := range list.Candidates {
		list.Candidates[i].Text = fmt.Sprintf("name %d of the parent file", i+1)
	}
	list.Old, list.Filed = nil, true
	return list, nil
}

// KeyLine finds the line of a TOML text that sets a key, because the decoder
// keeps positions to itself: counted from 1. It knows the ordinary ways of
// writing, [table] headers, dotted keys and quotes; otherwise it says 0.
func KeyLine(text string, key ...string) int {
	wanted := strings.Join(key, ".")
	table, number := "", 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if header, isTable := strings.CutPrefix(line, "["); isTable {
			header, _, _ = strings.Cut(header, "]")
			table = KeyName(strings.Trim(header, "[")) + "."
		}
		name, _, isValue := strings.Cut(line, "=")
		if isValue && table+KeyName(name) == wanted || !isValue && table == wanted+"." {
			return number
		}
	}
	return 0
}

// KeyName is a key as it is written in TOML, without the spaces and quotes
// around its parts.
func KeyName(written string) string {
	parts := strings.Split(written, ".")
	for i, part := range parts {
		parts[i] = strings.Trim(strings.TrimSpace(part), `"'`)
	}
	return strings.Join(parts, ".")
}
