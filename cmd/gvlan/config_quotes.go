package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/BurntSushi/toml"
)

// unquoted is the error for a value that wants quotes. It does not repeat the
// value: that may be a secret.
func unquoted(key toml.Key) error {
	return fmt.Errorf("%s: its value is not in quotes: write %s = \"...\"", key, key[len(key)-1:])
}

// checkQuotes refuses numbers and switches where words are wanted, which
// would be taken for words.
func checkQuotes(key toml.Key, value any) error {
	var field any
	for _, o := range options() {
		if len(key) == 1 && o.name == key[0] {
			field = o.field(new(Config))
		}
	}
	wants := false
	switch value.(type) {
	case int64:
		_, takes := field.(*uint16)
		wants = !takes
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
	key, value = unquoteKey(key), strings.TrimSpace(value)
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
