package config

import (
	"strings"
	"testing"
)

// FuzzConfigFile: whatever is in the file, reading it ends in values for
// known keys on lines that exist, or in an error that names the file.
func FuzzConfigFile(f *testing.F) {
	f.Add(ReferenceTOML())
	f.Add("boot-wait = \"1m\"\n[parents]\ndefault = [\"eth0\"]\nnetworks = { lan1 = \"eth1\" }\n")
	f.Add("[[parents]]\n\"dns\" = 1979-05-27\n'etcd-ca'=\"\"\"\n=\n\"\"\"\n")
	f.Fuzz(func(t *testing.T, source string) {
		file, err := parseConfigFile("gvlan.toml", source)
		if err != nil {
			if !strings.Contains(err.Error(), "gvlan.toml") {
				t.Errorf("error does not name the file: %v", err)
			}
			return
		}
		for key, value := range file.values {
			if !knownKey(strings.Split(key, ".")) && !strings.HasPrefix(key, parentsNetworksKey) {
				t.Errorf("took unknown key %q", key)
			}
			if value.line > strings.Count(source, "\n")+1 {
				t.Errorf("%q is said to be on line %d, behind the end", key, value.line)
			}
		}
	})
}

// FuzzValues: what a parser takes, it takes again in its own words.
func FuzzValues(f *testing.F) {
	for _, o := range options() {
		f.Add(o.preset)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if block, err := parseBlock(text); err == nil {
			if block.Bits < block.Base.Bits() || block.Base != block.Base.Masked() {
				t.Errorf("%q became %v", text, block)
			}
		}
		for _, item := range items(text, ",") {
			if strings.TrimSpace(item) != item || item == "" {
				t.Errorf("items(%q) has %q", text, item)
			}
		}
		_, _ = parsePrefix(text)
		_, _ = parseDuration(text)
		_, _ = parsePort(text)
	})
}
