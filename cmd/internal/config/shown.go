package config

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"gvlan/driver/bgp/peer"
)

// Shown is one setting of an agent that runs, as anybody may see it.
type Shown struct {
	Name  string `json:"name"` // as in the file
	Value string `json:"value"`
}

// hidden stands for a secret that is set.
const hidden = "(secret)"

// Show lists every setting in effect, without secrets.
func Show(c Config) []Shown {
	var all []Shown
	for _, o := range options() {
		value := printed(o.field(&c))
		if o.secret && value != "" {
			value = hidden
		}
		all = append(all, Shown{o.Name, value})
	}
	if c.Parents.Default != "" {
		all = append(all, Shown{parentsDefaultKey, c.Parents.Default})
	}
	for _, name := range slices.Sorted(maps.Keys(c.Parents.Networks)) {
		all = append(all, Shown{parentsNetworksKey + name, c.Parents.Networks[name]})
	}
	return all
}

// FromShown is the configuration that was shown, but for its secrets. Settings
// that this version does not know are left out.
func FromShown(all []Shown) (Config, error) {
	c := Config{Parents: Parents{Networks: map[string]string{}}}
	values := map[string]string{}
	for _, s := range all {
		values[s.Name] = s.Value
		if name, ok := strings.CutPrefix(s.Name, parentsNetworksKey); ok {
			c.Parents.Networks[name] = s.Value
		}
	}
	c.Parents.Default = values[parentsDefaultKey]
	var problems []error
	for _, o := range options() {
		value, told := values[o.Name]
		if !told {
			value = o.preset // an older agent's
		}
		if value == "" || value == hidden {
			continue
		}
		if err := assign(o.field(&c), value); err != nil {
			problems = append(problems, fmt.Errorf("the agent's --%s: %w", o.Name, err))
		}
	}
	return c, errors.Join(problems...)
}

// printed is what assign reads.
func printed(field any) string {
	switch v := field.(type) {
	case *string:
		return *v
	case *bool:
		if *v {
			return "on"
		}
		return "off"
	case *uint16:
		return strconv.Itoa(int(*v))
	case *Protocol:
		return strconv.Itoa(int(*v))
	case *peer.AS:
		if *v == 0 {
			return ""
		}
		return strconv.FormatUint(uint64(*v), 10)
	case *Table:
		if *v == 0 {
			return "main"
		}
		return strconv.FormatUint(uint64(*v), 10)
	case *time.Duration:
		return v.String()
	case *[]string:
		return strings.Join(*v, between(v))
	case *[]netip.Prefix:
		return join(*v, between(v), netip.Prefix.String)
	case *[]Block:
		return join(*v, between(v), func(b Block) string { return fmt.Sprintf("%s:%d", b.Base, b.Bits) })
	case *[]peer.Peer:
		return join(*v, between(v), peer.Peer.String)
	}
	panic(fmt.Sprintf("options table: no spelling for %T", field))
}

func join[T any](all []T, between string, print func(T) string) string {
	var words []string
	for _, one := range all {
		words = append(words, print(one))
	}
	return strings.Join(words, between)
}
