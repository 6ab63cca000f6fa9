// Package config is what an agent is told: by flags, by GVLAN_* variables, by
// a TOML file, in that order.
//
// options.go has the one table of settings, which flags, variables, keys of the
// file and both references are made from. Load collects, Settings.Check says
// all that cannot be or does not go together, Config.ReadSecrets reads what
// lies in files. The package opens no socket and starts nothing: what a setting
// brings about is in package agent.
package config
