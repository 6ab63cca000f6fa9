package cli

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"

	"gvlan/cmd/internal/cli/clitest"
	"gvlan/cmd/internal/cli/frame"
)

// written is a command line that a page has.
type written struct {
	page  string
	line  string
	words []string
	named bool // within a sentence, which may call a command by its name alone
}

// documented are the simple commands in all pages of the repository, shell and
// other programs' included.
func documented(t *testing.T) (all []written) {
	t.Helper()
	root := filepath.Join("..", "..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() && filepath.Ext(path) != ".md" {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == ".git" || name == "bin" || name == "testdata" {
				return fs.SkipDir
			}
			return nil
		}
		page, _ := filepath.Rel(root, path)
		if page == "CHANGELOG.md" {
			return nil // what was typed then
		}
		source, err := os.ReadFile(path)
		for _, c := range codeIn(source) {
			for _, words := range commandsIn(c.line) {
				all = append(all, written{page: page, line: c.line, words: words, named: c.named})
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

type code struct {
	line  string
	named bool
}

// codeIn are the lines of the blocks of a page, and its spans.
func codeIn(source []byte) (all []code) {
	parser := goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser()
	_ = ast.Walk(parser.Parse(text.NewReader(source)), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		switch n := n.(type) {
		case *ast.CodeSpan:
			var b strings.Builder
			for c := n.FirstChild(); c != nil && entering; c = c.NextSibling() {
				b.Write(c.(*ast.Text).Value(source))
			}
			all = append(all, code{line: b.String(), named: true})
			return ast.WalkSkipChildren, nil
		case *ast.CodeBlock, *ast.FencedCodeBlock:
			for i := 0; i < n.Lines().Len() && entering; i++ {
				line := n.Lines().At(i)
				all = append(all, code{line: strings.TrimRight(string(line.Value(source)), "\n")})
			}
		}
		return ast.WalkContinue, nil
	})
	return all
}

var (
	optional     = regexp.MustCompile(`\[[^\]]*\](?:\.\.\.)?`)
	shellComment = regexp.MustCompile(`(^|\s)#.*$`)
	between      = regexp.MustCompile(`\s(?:&&|\|\||\||;)\s|;\s`)
	assignment   = regexp.MustCompile(`^[A-Z_]+=\S*$`)
)

// commandsIn are the words of the simple commands of a line, without what is set
// for them, without sudo, at a prompt or over ssh, and without what may be left out.
func commandsIn(line string) (all [][]string) {
	line = shellComment.ReplaceAllString(strings.TrimPrefix(strings.TrimSpace(line), "$ "), "")
	line = optional.ReplaceAllString(line, "")
	for _, one := range between.Split(line, -1) {
		words := clitest.Words(one)
		if i := slices.Index(words, "sudo"); i >= 0 {
			words = words[i+1:]
		}
		for len(words) > 0 && assignment.MatchString(words[0]) {
			words = words[1:]
		}
		if len(words) > 0 {
			all = append(all, words)
		}
	}
	return all
}

// TestDocumentsTypeCommands: the pages type commands, flags and as many arguments
// as there are.
func TestDocumentsTypeCommands(t *testing.T) {
	lines, named := 0, 0
	for _, w := range documented(t) {
		if filepath.Base(w.words[0]) != "gvlan" || w.named && len(w.words) == 1 {
			continue
		}
		if w.named {
			named++
		} else {
			lines++
		}
		if why := notTaken(w.words[1:], w.named); why != "" {
			t.Errorf("%s: %s: %s", w.page, w.line, why)
		}
	}
	if lines < 5 || named < 100 {
		t.Errorf("%d lines and %d in sentences were found, want at least 5 and 100", lines, named)
	}
}

// notTaken is why a command line cannot be typed so, "" where it can; named says
// that it may be a command's name alone.
func notTaken(words []string, named bool) string {
	words = slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w == "..." })
	root := Root("v1")
	c, rest, err := root.Find(words)
	if err != nil {
		return err.Error()
	}
	c.InitDefaultHelpFlag()
	if err := c.ParseFlags(rest); err != nil {
		return err.Error()
	}
	args := c.Flags().Args()
	switch {
	case c.HasSubCommands() && len(args) > 0:
		return c.CommandPath() + " has no command " + args[0]
	case c.HasSubCommands(), named && len(args) == 0:
		return ""
	}
	if err := c.ValidateArgs(args); err != nil {
		return err.Error()
	}
	return ""
}

// othersFlags are those of other programs that the pages name by themselves.
var othersFlags = []string{
	"--ip", "--ip6", "--mac-address", "--network", "--endpoint-mode", "--restart", "--force-recreate", "--driver-opt", "--cap-add", "--cap-drop", "--privileged", "--publish", "--dns-search", "--hostname", // docker and compose
	"--config-only", "--config-from", "--cluster-store", "--cluster-advertise", "--set-macaddress", "--ip4", "--ipvlan_mode", // of networks, once or never
	"--bump-revision", "--can-ip-forward", "--allowed-address", // etcdutl, gcloud, openstack
}

// TestDocumentsNameFlags: a flag that stands alone in a sentence is one of gvlan's,
// if it is not known to be another's.
func TestDocumentsNameFlags(t *testing.T) {
	known := slices.Clone(othersFlags)
	for _, c := range frame.Commands(Root("v1")) {
		c.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, "--"+f.Name) })
	}
	for _, w := range documented(t) {
		flag, _, _ := strings.Cut(w.words[0], "=")
		if w.named && strings.HasPrefix(flag, "--") && flag != "--" && !slices.Contains(known, flag) {
			t.Errorf("%s: %s is a flag of no command of gvlan; one of another program goes into othersFlags", w.page, w.line)
		}
	}
}

// TestDocumentsMakeNetworks: what the pages have docker make of gvlan is taken as
// it stands: options, their values, and which addresses lie in which subnets. That
// is found out by `gvlan network create`, which has Docker's flags.
func TestDocumentsMakeNetworks(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "nowhere.sock")
	made := 0
	for _, w := range documented(t) {
		create, args := false, []string(nil)
		if len(w.words) > 3 && slices.Equal(w.words[:3], []string{"docker", "network", "create"}) {
			create, args = ofGvlan(w.words[3:])
		}
		if !create || strings.Contains(w.line, "OPTION=VALUE") {
			continue
		}
		made++
		args = append([]string{"network", "create", "--status-socket", socket}, args...)
		if got := typed(t, args...); got.Status == frame.Misused {
			t.Errorf("%s: %s: %s", w.page, w.line, got.Err)
		}
	}
	if made < 3 {
		t.Errorf("%d networks are made, want at least 3", made)
	}
}

// ofGvlan reports whether arguments of `docker network create` name gvlan or its
// plugin, twice, and are them without those and without the scope of a swarm.
func ofGvlan(args []string) (bool, []string) {
	var rest, drivers []string
	for i := 0; i < len(args); i++ {
		switch flag, value, joined := strings.Cut(args[i], "="); flag {
		case "-d", "--driver", "--ipam-driver", "--scope":
			if !joined && i+1 < len(args) {
				i++
				value = args[i]
			}
			if flag != "--scope" {
				drivers = append(drivers, value)
			}
		default:
			rest = append(rest, args[i])
		}
	}
	if !slices.ContainsFunc(drivers, func(d string) bool { return strings.HasPrefix(d, "gvlan") }) {
		return false, nil
	}
	if len(drivers) != 2 || drivers[0] != drivers[1] {
		rest = append(rest, "--ipam-driver-is-missing")
	}
	return true, rest
}
