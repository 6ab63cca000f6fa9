package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"gvlan/cmd/internal/cli/clitest"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/config"
)

// tree is every command as it is typed.
func tree() *cobra.Command { return newRoot("v1", nil) }

// typed runs a command line and tells what it printed.
func typed(t *testing.T, args ...string) clitest.Typed {
	t.Helper()
	var out, err bytes.Buffer
	agent := func(context.Context, config.Settings) error { return nil }
	status := Run(t.Context(), args, &out, &err, "v1", agent)
	return clitest.Typed{Out: out.String(), Err: err.String(), Status: status}
}

// TestHelp: every command says in a line what it does, and shows how it is typed.
func TestHelp(t *testing.T) {
	root := tree()
	for _, c := range frame.Commands(root) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") || utf8.RuneCountInString(c.Short) > 90 {
			t.Errorf("%s: Short %q is no short line", c.CommandPath(), c.Short)
		}
		if len(clitest.Examples(c)) == 0 {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for _, line := range clitest.Examples(c) {
			if !strings.HasPrefix(line, c.CommandPath()) {
				t.Errorf("%s has an example of another command: %s", c.CommandPath(), line)
			}
		}
		for _, text := range []string{c.Long, c.Example} {
			for line := range strings.Lines(text) {
				if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 160 {
					t.Errorf("%s --help has a line of %d columns: %s", c.CommandPath(), n, line)
				}
			}
		}
	}
}

// TestExamplesAreTakenAsTyped: no example of any help is a misuse.
func TestExamplesAreTakenAsTyped(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("GVLAN_CONFIG", os.DevNull)
	socket := clitest.Agent(t, nil)
	root := tree()
	for _, c := range append(frame.Commands(root), root) {
		for _, line := range clitest.Examples(c) {
			args := clitest.Words(line)[1:]
			if c.Flags().Lookup("status-socket") != nil {
				args = append(args, "--status-socket", socket)
			}
			if got := typed(t, args...); got.Status == frame.Misused {
				t.Errorf("%s: %s", line, got.Err)
			}
		}
	}
}

// TestReadmeCommands: cmd/gvlan/README.md has the table of commands as the binary
// prints it.
func TestReadmeCommands(t *testing.T) {
	readme, err := os.ReadFile("../../gvlan/README.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := frame.Reference(tree()); !strings.Contains(string(readme), want) {
		t.Errorf("cmd/gvlan/README.md lacks the table of commands; put in what `gvlan config reference --commands` prints:\n%s", want)
	}
}

// arguments are as many as a command wants, of which none is anything.
func arguments(c *cobra.Command) (args []string) {
	_, wants, _ := strings.Cut(c.Use, " ")
	for word := range strings.FieldsSeq(wants) {
		switch {
		case strings.HasPrefix(word, "["):
		case word == "KEY=VALUE...":
			args = append(args, "parent=eth0")
		case strings.Contains(word, "|"):
			args = append(args, strings.Split(word, "|")[0])
		case strings.HasPrefix(word, "ADDRESS"):
			args = append(args, "192.168.1.20")
		default:
			args = append(args, "thing")
		}
	}
	return args
}

// path is how a command is typed, without gvlan.
func path(c *cobra.Command) []string { return strings.Fields(c.CommandPath())[1:] }

// asking are the commands that ask the agent and can do nothing without it.
func asking(root *cobra.Command) (all []*cobra.Command) {
	for _, c := range frame.Commands(root) {
		alone := c.Name() == "doctor" || c.Name() == "support"
		if c.Flags().Lookup("status-socket") != nil && c.Flags().Lookup("driver-name") == nil && !alone {
			all = append(all, c)
		}
	}
	return all
}

// TestWithoutAgent: whatever is asked, it says where it asked and what starts an
// agent, prints nothing else, and fails.
func TestWithoutAgent(t *testing.T) {
	t.Chdir(t.TempDir())
	socket := filepath.Join(t.TempDir(), "nowhere.sock")
	all := asking(tree())
	if len(all) < 25 {
		t.Errorf("%d commands ask the agent, want at least 25", len(all))
	}
	for _, c := range all {
		t.Run(c.CommandPath(), func(t *testing.T) {
			args := append(append(path(c), arguments(c)...), "--status-socket", socket)
			if c.Name() == "join" {
				args = append(args, "gvlan1-x")
			}
			got := typed(t, args...)
			want := "gvlan: no agent answers at " + socket + ": start it (systemctl start gvlan), or give the --status-socket it was started with\n"
			if got.Status != frame.Failed || got.Out != "" || got.Err != want {
				t.Errorf("gvlan %s: status %d, stdout %q, stderr %q", strings.Join(args, " "), got.Status, got.Out, got.Err)
			}
		})
	}
}

// TestMisuse: what is typed wrong is said with what would be right, and nothing
// is tried.
func TestMisuse(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("GVLAN_CONFIG", os.DevNull)
	socket := filepath.Join(t.TempDir(), "nowhere.sock")
	misused := func(t *testing.T, want string, args ...string) {
		t.Helper()
		if got := typed(t, args...); got.Status != frame.Misused || got.Out != "" || !strings.Contains(got.Err, want) || strings.Count(got.Err, "\n") != 1 {
			t.Errorf("gvlan %s: status %d, stdout %q, stderr %q; want %q", strings.Join(args, " "), got.Status, got.Out, got.Err, want)
		}
	}
	for _, c := range frame.Commands(tree()) {
		t.Run(c.CommandPath(), func(t *testing.T) {
			name := c.CommandPath()
			given := append(path(c), arguments(c)...)
			misused(t, "unknown flag: --nosuchflag", append(given, "--nosuchflag")...)
			if len(arguments(c)) > 0 {
				misused(t, name+" wants ", path(c)...)
			}
			if !strings.Contains(c.Use, "...") {
				misused(t, name, append(given, "one", "two", "three", "four")...)
			}
			if c.Flags().Lookup("format") != nil {
				misused(t, "is no Go template", append(given, "--format", "{{.Name")...)
				misused(t, "exclude one another", append(given, "--json", "-q")...)
			}
			if c.Flags().Lookup("wait") != nil {
				misused(t, `"soon"`, append(given, "--wait", "soon")...)
			}
			if c.HasParent() && c.Parent().HasParent() {
				misused(t, "did you mean "+name+"?", append(path(c.Parent()), c.Name()+"x")...)
			}
		})
	}
	for args, want := range map[string]string{
		"network creat lan":                                    "gvlan network has no command \"creat\"; did you mean gvlan network create?",
		"node evct x":                                          "did you mean gvlan node evict?",
		"key rot":                                              "did you mean gvlan key rotate?",
		"statsu":                                               "did you mean gvlan status?",
		"help statsu":                                          "did you mean gvlan status?",
		"help network creat":                                   "did you mean gvlan network create?",
		"completion bsh":                                       "did you mean gvlan completion bash?",
		"config check --log-level loud":                        `--log-level "loud": give one of debug, info, warn, error`,
		"network ls --format {{.Nmae}}":                        "there is no .Nmae; did you mean .Name?",
		"store ls --format {{.Standing}}":                      "there is no .Standing; there are .Name, .Node, .Role",
		"lease show fe80::1%eth0":                              `"fe80::1%eth0" is no address`,
		"network create lan -o":                                "flag needs an argument",
		"network set lan parent":                               "parent: want KEY=VALUE",
		"network set lan subnet=10.0.0.0/8":                    "a network keeps subnet as it was made",
		"network set lan parents=eth0":                         "did you mean parent?",
		"network set lan exclude=10.0.0.300":                   "10.0.0.300",
		"network set lan range+=10.0.0.0":                      `range "10.0.0.0" is no CIDR, as 192.168.1.64/26`,
		"network set lan cooldown=soon":                        "soon",
		"network set lan parent=":                              "no parent interface was passed",
		"network create lan --subnet 10.0.0":                   `--subnet "10.0.0" is no CIDR, as in 192.168.1.0/24`,
		"network create lan --subnet 10.0.0.0/24 --ip-range x": `--ip-range "x" is no CIDR, as in 192.168.1.128/25`,
		"network create lan --subnet 10.0.0.0/24 --gateway 10.9.9.9":     "--gateway 10.9.9.9 lies in no --subnet of the network",
		"network create lan --subnet 10.0.0.0/24 --gateway x":            `--gateway "x" is no address, as 192.168.1.1`,
		"network create lan --subnet 10.0.0.0/24 --aux-address 10.0.0.9": `--aux-address "10.0.0.9": want NAME=ADDRESS`,
		"network create lan -o parents=eth0":                             "-o parents is unknown: did you mean parent?",
		"network create lan -o macvlan_mode=brige":                       `-o macvlan_mode="brige" is not one of bridge, private, vepa, passthru`,
		"network create lan --ipam-opt ordr=aged":                        "--ipam-opt ordr is not known: did you mean order?",
		"network create lan --ipam-opt order=oldest":                     "--ipam-opt order=oldest: give order=lowest, order=random or order=aged",
		"network create lan -o mtu=1400 -o mtu=1500":                     "--opt mtu is given twice",
		"store size 4":                              `size "4": give 1, 3 or 5, or auto`,
		"dns setup bind":                            `"bind" is no resolver known here: give resolved, dnsmasq, coredns, unbound, resolv.conf`,
		"dns lookup web --type X":                   `--type "X"`,
		"join h1":                                   "no token is given",
		"join h1 TOKEN --token-file f":              "TOKEN and --token-file are given: give one",
		"join h1 TOKEN --import --discard":          "[discard import]",
		"config reference --toml --options":         "[options toml]",
		"agent --log-level loud":                    `--log-level "loud": give one of debug, info, warn, error`,
		"network ls --swarm=maybe":                  "--swarm",
		"agent --etcd-endpoint http://127.0.0.1:23": "did you mean --etcd-endpoints?",
	} {
		t.Run(args, func(t *testing.T) {
			words := strings.Fields(args)
			if c, _, err := tree().Find(words); err == nil && c.Flags().Lookup("status-socket") != nil && !strings.HasSuffix(args, " -o") {
				words = append(words, "--status-socket", socket)
			}
			misused(t, want, words...)
		})
	}
}

// TestWithoutCommand: gvlan alone, and a group alone, show their help.
func TestWithoutCommand(t *testing.T) {
	for _, args := range [][]string{nil, {"network"}, {"completion"}, {"--help"}, {"help"}, {"help", "network", "create"}, {"network", "create", "--help"}} {
		if got := typed(t, args...); got.Status != frame.Well || !strings.Contains(got.Out, "Usage:") || got.Err != "" {
			t.Errorf("gvlan %s: %+v", strings.Join(args, " "), got)
		}
	}
	help := typed(t, "network", "create", "--help").Out
	for _, said := range []string{"macvlan_mode=", "parent=LIST", "segment=NAME", "cooldown=TIME"} {
		if !strings.Contains(help, said) {
			t.Errorf("network create --help does not tell of %s", said)
		}
	}
	if got := typed(t, "--help").Out; !strings.Contains(got, "2 when the command line is wrong") {
		t.Errorf("gvlan --help does not say what exit statuses mean:\n%s", got)
	}
}

// TestSecretsAreNotPrinted by what shows the settings.
func TestSecretsAreNotPrinted(t *testing.T) {
	t.Setenv("GVLAN_CONFIG", os.DevNull)
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("open-sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, given := range []string{"--web-password=open-sesame", "--web-password-file=" + file} {
		for _, form := range []string{"--json", "--json=false", "--format={{.}}"} {
			got := typed(t, "config", "check", "--web-listen", "0.0.0.0:8470", given, form)
			if got.Status != frame.Well || !strings.Contains(got.Out, "0.0.0.0:8470") || strings.Contains(got.Out+got.Err, "sesame") {
				t.Errorf("%s %s: %+v", given, form, got)
			}
		}
	}
}
