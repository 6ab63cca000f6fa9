package tests

import (
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// maxFuncLines bounds a function; most are far below.
const maxFuncLines = 100

// source is one parsed file of ours.
type source struct {
	path  string // below root
	fset  *token.FileSet
	file  *ast.File
	lines []string
}

// sources parses every Go file of the repository.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	for _, path := range repoFiles(t, ".go") {
		text := readFile(t, path)
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, source{path: path, fset: fset, file: file, lines: strings.Split(string(text), "\n")})
	}
	return all
}

func (s source) line(n ast.Node) int    { return s.fset.Position(n.Pos()).Line }
func (s source) text(n ast.Node) string { return s.lines[s.line(n)-1] }
func (s source) at(n ast.Node) string   { return s.path + ":" + strconv.Itoa(s.line(n)) }
func (s source) funcs() (f []*ast.FuncDecl) {
	for _, decl := range s.file.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok {
			f = append(f, fn)
		}
	}
	return f
}

func TestFunctionsAreSmall(t *testing.T) {
	for _, s := range sources(t) {
		for _, f := range s.funcs() {
			if lines := s.fset.Position(f.End()).Line - s.line(f) + 1; lines > maxFuncLines && !isTest(s.path) {
				t.Errorf("%s: %s has %d lines, more than %d", s.at(f), f.Name.Name, lines, maxFuncLines)
			}
		}
	}
}

// TestErrorsAreWrapped: callers can tell errors apart only through %w.
func TestErrorsAreWrapped(t *testing.T) {
	for _, s := range sources(t) {
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || callee(call) != "fmt.Errorf" || len(call.Args) < 2 {
				return true
			}
			format, ok := call.Args[0].(*ast.BasicLit)
			if !ok {
				return true
			}
			for i, verb := range verbs(format.Value) {
				if i+1 < len(call.Args) && isErrorName(call.Args[i+1]) && verb != "w" {
					t.Errorf("%s: an error is formatted with %%%s; wrap it with %%w", s.at(call), verb)
				}
			}
			return true
		})
	}
}

var verbForm = regexp.MustCompile(`%[-+# 0-9.]*([a-zA-Z%])`)

// verbs are the letters of a format's verbs, one for each argument.
func verbs(format string) []string {
	var letters []string
	for _, match := range verbForm.FindAllStringSubmatch(format, -1) {
		if match[1] != "%" {
			letters = append(letters, match[1])
		}
	}
	return letters
}

// isErrorName goes by the name, as errors are called here.
func isErrorName(e ast.Expr) bool {
	id, ok := e.(*ast.Ident)
	return ok && (id.Name == "err" || strings.HasSuffix(id.Name, "Err") || strings.HasPrefix(id.Name, "Err"))
}

// TestExportedIsDocumented: shape, unit, errors and source stand where the
// reader meets the name. A group may share one docstring, and so may the
// constants or variables on adjacent lines.
func TestExportedIsDocumented(t *testing.T) {
	for _, s := range sources(t) {
		if isTest(s.path) {
			continue
		}
		for _, f := range s.funcs() {
			if f.Name.IsExported() && exportedReceiver(f) && f.Doc == nil {
				t.Errorf("%s: %s has no docstring", s.at(f), f.Name.Name)
			}
		}
		for _, decl := range s.file.Decls {
			if group, ok := decl.(*ast.GenDecl); ok && group.Doc == nil {
				undocumented(t, s, group)
			}
		}
	}
}

func undocumented(t *testing.T, s source, group *ast.GenDecl) {
	covered := 0 // the line the last docstring reaches down to
	for _, spec := range group.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			if spec.Name.IsExported() && spec.Doc == nil {
				t.Errorf("%s: type %s has no docstring", s.at(spec), spec.Name.Name)
			}
		case *ast.ValueSpec:
			if spec.Doc != nil || spec.Comment != nil || covered == s.line(spec)-1 {
				covered = s.fset.Position(spec.End()).Line
			} else if spec.Names[0].IsExported() {
				t.Errorf("%s: %s has no docstring", s.at(spec), spec.Names[0].Name)
			}
		}
	}
}

// exportedReceiver is true for functions, and for methods a user can reach.
func exportedReceiver(f *ast.FuncDecl) bool {
	if f.Recv == nil {
		return true
	}
	typ := f.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if generic, ok := typ.(*ast.IndexExpr); ok {
		typ = generic.X
	}
	id, ok := typ.(*ast.Ident)
	return ok && id.IsExported()
}

// TestPackagesAreDocumented: one file of each package says what it is for.
func TestPackagesAreDocumented(t *testing.T) {
	documented := map[string]bool{}
	for _, s := range sources(t) {
		folder := filepath.Dir(s.path)
		documented[folder] = documented[folder] || s.file.Doc != nil
	}
	for folder, ok := range documented {
		if !ok {
			t.Errorf("package in %s has no package comment", folder)
		}
	}
}

// TestSkipsAreForPrivilege: a test is skipped only for not being root. A
// feature that should be there and is not is a failure.
func TestSkipsAreForPrivilege(t *testing.T) {
	for _, s := range sources(t) {
		var conditions []string // of the if statements around the node
		ast.PreorderStack(s.file, nil, func(n ast.Node, stack []ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || !slices.Contains([]string{"t.Skip", "t.Skipf", "t.SkipNow", "b.Skip", "b.Skipf"}, callee(call)) {
				return true
			}
			conditions = conditions[:0]
			for _, outer := range stack {
				if branch, ok := outer.(*ast.IfStmt); ok {
					conditions = append(conditions, s.text(branch))
				}
			}
			if !strings.Contains(strings.Join(conditions, "\n"), "os.Geteuid() != 0") {
				t.Errorf("%s: skipped for another reason than `os.Geteuid() != 0`", s.at(call))
			}
			return true
		})
	}
}

// TestVirtualTimeAvoidsRace: see tests/run/virtual.go.
func TestVirtualTimeAvoidsRace(t *testing.T) {
	for _, s := range sources(t) {
		if imports(s.file, "testing/synctest") && !leftOutOfRace(s.file) {
			t.Errorf("%s uses testing/synctest without //go:build !race: it would crash the race suite", s.path)
		}
	}
}

func leftOutOfRace(file *ast.File) bool {
	for _, group := range file.Comments {
		for _, c := range group.List {
			if expr, err := constraint.Parse(c.Text); err == nil {
				return !expr.Eval(func(string) bool { return true })
			}
		}
	}
	return false
}

// TestNetlinkByHandle: the package-level functions of netlink act on
// whatever namespace the thread happens to be in.
func TestNetlinkByHandle(t *testing.T) {
	for _, s := range sources(t) {
		if !imports(s.file, "github.com/vishvananda/netlink") || strings.HasPrefix(s.path, "tests/") || isTest(s.path) {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			name, ours := strings.CutPrefix(callee(call), "netlink.")
			if ours && kernelVerb.MatchString(name) {
				t.Errorf("%s: netlink.%s has no namespace of its own; call it on a Handle", s.at(call), name)
			}
			return true
		})
	}
}

// kernelVerb matches the functions of netlink that talk to the kernel:
// LinkAdd, AddrList, RouteGet, LinkSetUp, ...
var kernelVerb = regexp.MustCompile(`^(Link|Addr|Route|Rule|Neigh|Qdisc|Class|Filter|Bridge)(Add|Append|By|Change|Del|Get|List|Modify|Replace|Set|Update)`)

// callee is "pkg.Func" or "value.Method" of a call, or "".
func callee(call *ast.CallExpr) string {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	id, ok := selector.X.(*ast.Ident)
	if !ok {
		return ""
	}
	return id.Name + "." + selector.Sel.Name
}

func imports(file *ast.File, path string) bool {
	return slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == strconv.Quote(path) })
}
