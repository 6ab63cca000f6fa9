// Package visible shows what others wrote, and long ids, to people: in errors
// for Docker, in logs and in what commands print. Names come from other hosts,
// and no text of theirs may move a terminal's cursor or pass for a line of ours.
package visible

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Text is text as a terminal or a log may show it, whoever wrote it: names
// come from other hosts, and what is no character of a line would move the
// cursor, or say something in another's name. Lines and tabs stay. Escapes have
// the form of JSON's, so that JSON stays what it was.
func Text(text string) string {
	if !strings.ContainsFunc(text, invisible) && utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[0])
		case !invisible(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		text = text[size:]
	}
	return b.String()
}

func invisible(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }

// Word quotes a word that holds what does not belong in one line.
func Word(word string) string {
	if strings.ContainsFunc(word, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(word)
	}
	return word
}

// ShellWord is a word as sh reads it back, whatever is in it, and as a
// terminal may show it.
func ShellWord(word string) string {
	plain := func(r rune) bool {
		return strings.ContainsRune("%+,-./:=@_", r) || r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r))
	}
	switch {
	case word != "" && !strings.ContainsFunc(word, func(r rune) bool { return !plain(r) }):
		return word
	case !strings.ContainsFunc(word, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	var octal strings.Builder
	for i := range len(word) {
		fmt.Fprintf(&octal, `\%03o`, word[i])
	}
	return `"$(printf '` + octal.String() + `')"`
}

// ID is how Docker shows an id.
func ID(id string) string { return id[:min(12, len(id))] }
