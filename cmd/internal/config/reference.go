package config

import (
	"fmt"
	"strings"
	"time"

	"gvlan/driver/bgp/peer"
)

// Reference is the table of all settings, as cmd/gvlan/README.md has it.
func Reference() string {
	var b strings.Builder
	b.WriteString("| flag, and key in the file | environment | default | meaning |\n|---|---|---|---|\n")
	for _, o := range options() {
		placeholder, usage := o.placeholder()
		flag := "`" + strings.TrimSpace("--"+o.Name+" "+placeholder) + "`"
		preset := ""
		if o.preset != "" {
			preset = "`" + strings.ReplaceAll(o.preset, ",", ", ") + "`"
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s |\n", escapePipes(flag), o.env(), preset, escapePipes(usage))
	}
	return b.String()
}

// escapePipes keeps a cell of a Markdown table in one piece.
func escapePipes(cell string) string { return strings.ReplaceAll(cell, "|", `\|`) }

// ReferenceTOML is a file with nothing set, as deploy has it.
func ReferenceTOML() string {
	var b strings.Builder
	b.WriteString("# Settings of the gvlan agent, with their defaults. A flag or a GVLAN_* variable of the same name wins\n" +
		"# over this file. `gvlan config check` says what is in effect and why.\n")
	for _, o := range options() {
		_, usage := o.placeholder()
		fmt.Fprintf(&b, "\n# %s\n#%s = %s\n", usage, o.Name, o.tomlPreset())
	}
	b.WriteString(`
# What -o parent=@host means on this host: a parent list by the name of the network, or else the default.
#[parents]
#default = "bond0, eth0"
#[parents.networks]
#lan1 = "eth1"
`)
	return b.String()
}

// tomlPreset spells the default as TOML: quoted, or a list.
func (o option) tomlPreset() string {
	switch o.field(new(Config)).(type) {
	case *bool:
		return fmt.Sprint(o.preset == "on")
	case *uint16, *Protocol:
		return o.preset
	case *string, *time.Duration, *peer.AS:
		return fmt.Sprintf("%q", o.preset)
	}
	quoted := []string{}
	for _, item := range items(o.preset, between(o.field(new(Config)))) {
		quoted = append(quoted, fmt.Sprintf("%q", item))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// placeholder takes the `quoted` name of the value out of the usage.
func (o option) placeholder() (name, usage string) {
	before, rest, quoted := strings.Cut(o.usage, "`")
	name, after, closed := strings.Cut(rest, "`")
	if !quoted || !closed {
		return "", o.usage
	}
	return name, before + name + after
}
