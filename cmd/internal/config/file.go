package config

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"gvlan/driver/bgp/peer"
	"gvlan/ipam/pool"
	"gvlan/parentfile"
)

// DefaultFile need not be there; a file that was named must be.
const DefaultFile = "/etc/gvlan/gvlan.toml"

// fileValue is one key of the configuration file.
type fileValue struct {
	text string // spelled as on the command line
	line int    // counted from 1; 0 when not found again
}

// configFile is the content of a configuration file: options by name, and
// the [parents] table under "parents.default" and "parents.networks.NAME".
type configFile struct {
	path   string
	values map[string]fileValue
}

const (
	parentsDefaultKey  = "parents.default"
	parentsNetworksKey = "parents.networks."
)

// readConfigFile reads the file. Unknown keys are errors that name the line
// and the nearest known key; all of a file's errors are reported at once.
func readConfigFile(path string) (configFile, error) {
	source, err := os.ReadFile(path)
	if err != nil {
		return configFile{}, fmt.Errorf("read the configuration: %w", err)
	}
	return parseConfigFile(path, string(source))
}

func parseConfigFile(path, source string) (configFile, error) {
	file := configFile{path: path, values: map[string]fileValue{}}
	var tree map[string]any
	meta, err := toml.Decode(source, &tree)
	if parse, ok := errors.AsType[toml.ParseError](err); ok {
		return configFile{}, fmt.Errorf("%s:%d: %w", path, parse.Position.Line, broken(source, parse))
	}
	if err != nil {
		return configFile{}, fmt.Errorf("read the configuration %s: %w", path, err)
	}
	var problems []error
	for _, key := range meta.Keys() {
		if err := file.take(key, valueAt(tree, key), parentfile.KeyLine(source, key...)); err != nil {
			problems = append(problems, err)
		}
	}
	return file, errors.Join(problems...)
}

// take keeps the value of one key.
func (f *configFile) take(key toml.Key, value any, line int) error {
	name := strings.Join(key, ".")
	if _, isTable := value.(map[string]any); isTable && (name == "parents" || name == "parents.networks") {
		return nil
	}
	if !knownKey(key) {
		if near := pool.Nearest(name, fileKeys()); near != "" {
			return fmt.Errorf("%s: unknown key %q; did you mean %q?", f.at(line), name, near)
		}
		return fmt.Errorf("%s: unknown key %q; see gvlan config reference", f.at(line), name)
	}
	if err := checkQuotes(key, value); err != nil {
		return fmt.Errorf("%s: %w", f.at(line), err)
	}
	text, err := spell(value, between(fieldOf(name)))
	if err != nil {
		return fmt.Errorf("%s: %s: %w", f.at(line), name, err)
	}
	f.values[name] = fileValue{text: text, line: line}
	return nil
}

// at names a line of the file.
func (f *configFile) at(line int) string {
	if line == 0 {
		return f.path
	}
	return f.path + ":" + strconv.Itoa(line)
}

// secretsIn is the file's path where a secret stands in it, else "".
func (f *configFile) secretsIn() string {
	for _, o := range options() {
		if o.secret && f.values[o.Name].text != "" {
			return f.path
		}
	}
	return ""
}

// fileKeys are the keys without free parts.
func fileKeys() []string {
	keys := []string{parentsDefaultKey}
	for _, o := range options() {
		keys = append(keys, o.Name)
	}
	return keys
}

func knownKey(key toml.Key) bool {
	if len(key) == 3 {
		return key[0] == "parents" && key[1] == "networks"
	}
	for _, known := range fileKeys() {
		if strings.Join(key, ".") == known {
			return true
		}
	}
	return false
}

// spell writes a TOML value as it would stand on the command line, where the items
// of a list have that between them.
func spell(value any, between string) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case bool:
		if v {
			return "on", nil
		}
		return "off", nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case []any:
		var list []string
		for _, item := range v {
			text, ok := item.(string)
			if !ok || strings.Contains(text, between) {
				return "", fmt.Errorf("%v is no item of a list of strings", item)
			}
			list = append(list, text)
		}
		return strings.Join(list, between), nil
	}
	return "", fmt.Errorf("%v is neither a string, a number, true or false, nor a list of strings", value)
}

// valueAt looks a key up in the decoded tree.
func valueAt(tree map[string]any, key toml.Key) any {
	var value any = tree
	for _, part := range key {
		table, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = table[part]
	}
	return value
}

// unquoted is the error for a value that wants quotes. It does not repeat the
// value: that may be a secret.
func unquoted(key toml.Key) error {
	return fmt.Errorf("%s: its value is not in quotes: write %s = \"...\"", key, key[len(key)-1:])
}

// fieldOf is a field of the kind that a key of the file sets; nil where it is none of
// an option.
func fieldOf(name string) any {
	for _, o := range options() {
		if o.Name == name {
			return o.field(new(Config))
		}
	}
	return nil
}

// checkQuotes refuses numbers and switches where words are wanted, which
// would be taken for words.
func checkQuotes(key toml.Key, value any) error {
	field := fieldOf(key.String())
	wants := false
	switch value.(type) {
	case int64:
		_, port := field.(*uint16)
		_, protocol := field.(*Protocol)
		_, as := field.(*peer.AS)
		wants = !port && !protocol && !as
	case bool:
		_, takes := field.(*bool)
		wants = !takes
	}
	if wants {
		return unquoted(key)
	}
	return nil
}

// broken is what is wrong with a file that is no TOML: most often an address
// or a duration without quotes, which the decoder takes for the beginning of
// a number or a date.
func broken(source string, at toml.ParseError) error {
	line := ""
	number := 0
	for text := range strings.Lines(source) {
		if number++; number == at.Position.Line {
			line = text
		}
	}
	key, value, found := strings.Cut(line, "=")
	value, _, _ = strings.Cut(value, "#")
	key, value = parentfile.KeyName(key), strings.TrimSpace(value)
	plain := func(text string) bool { return text != "" && !strings.ContainsAny(text, `"'{}`) }
	switch {
	case found && isName(key) && strings.HasPrefix(value, "[") && plain(value):
		return fmt.Errorf("%s: its values are not in quotes: write %s = [\"...\", \"...\"]", key, key)
	case found && isName(key) && plain(value):
		return unquoted(toml.Key{key})
	}
	return errors.New(at.Message)
}

// isName reports whether that can be the key of a setting.
func isName(key string) bool {
	return key != "" && !strings.ContainsAny(key, "[]\"' \t")
}
