package tests

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestVariablesStay: a variable of a package is an error, a table or a value
// (.golangci.yml has which), and no function of the package or of its inner
// tests changes it, whole or in part.
func TestVariablesStay(t *testing.T) {
	told := map[string]bool{} // a package is looked at without its tests and with them
	for _, p := range typedPackages(t, listed.product) {
		for _, file := range p.files {
			ast.Inspect(file, func(n ast.Node) bool {
				for _, changed := range changedBy(n, p.info) {
					v, ok := p.info.Uses[rootOf(changed)].(*types.Var)
					at := p.fset.Position(n.Pos()).String()
					if ok && v.Parent() == v.Pkg().Scope() && !isTest(p.fset.Position(v.Pos()).Filename) && !told[at] {
						told[at] = true
						t.Errorf("%s: var %s is changed", at, v.Name())
					}
				}
				return true
			})
		}
	}
}

// changedBy are the expressions that a statement or an expression changes, or
// lets others change.
func changedBy(n ast.Node, info *types.Info) []ast.Expr {
	switch n := n.(type) {
	case *ast.AssignStmt:
		return n.Lhs
	case *ast.IncDecStmt:
		return []ast.Expr{n.X}
	case *ast.RangeStmt:
		return []ast.Expr{n.Key, n.Value}
	case *ast.UnaryExpr:
		if n.Op == token.AND { // whoever gets the address may
			return []ast.Expr{n.X}
		}
	case *ast.CallExpr:
		if id, ok := n.Fun.(*ast.Ident); ok && (id.Name == "delete" || id.Name == "clear" || id.Name == "copy") {
			return n.Args[:1]
		}
	case *ast.SelectorExpr: // a method with a pointer receiver takes the address
		if s := info.Selections[n]; s != nil && s.Kind() == types.MethodVal && !s.Indirect() && isPointer(s.Obj().(*types.Func).Signature().Recv().Type()) {
			return []ast.Expr{n.X}
		}
	}
	return nil
}

func isPointer(t types.Type) bool {
	_, ok := t.Underlying().(*types.Pointer)
	return ok
}

// rootOf is the variable behind x, x.f, x[i], x[i:j] and *x, or nil.
func rootOf(e ast.Expr) *ast.Ident {
	for {
		switch v := e.(type) {
		case *ast.Ident:
			return v
		case *ast.SelectorExpr:
			e = v.X
		case *ast.IndexExpr:
			e = v.X
		case *ast.SliceExpr:
			e = v.X
		case *ast.StarExpr:
			e = v.X
		case *ast.ParenExpr:
			e = v.X
		default:
			return nil
		}
	}
}

// TestSkipsAreForPrivilege: a test is skipped in an `if os.Geteuid() != 0`, and
// nowhere else; .golangci.yml bans skips, and this is what a //nolint there has
// to keep to.
func TestSkipsAreForPrivilege(t *testing.T) {
	for _, path := range repoFiles(t, ".go") {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, readFile(t, path), parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.PreorderStack(file, nil, func(n ast.Node, around []ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			f, ok := call.Fun.(*ast.SelectorExpr)
			if ok && slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, f.Sel.Name) && !slices.ContainsFunc(around, isNotRoot) {
				t.Errorf("%s: skipped for another reason than `os.Geteuid() != 0`", fset.Position(call.Pos()))
			}
			return true
		})
	}
}

// isNotRoot reports whether a node is `if os.Geteuid() != 0 {...}`.
func isNotRoot(n ast.Node) bool {
	branch, ok := n.(*ast.IfStmt)
	return ok && branch.Else == nil && types.ExprString(branch.Cond) == "os.Geteuid() != 0"
}

// TestVirtualTimeAvoidsRace: see tests/run/virtual.go.
func TestVirtualTimeAvoidsRace(t *testing.T) {
	const format = `{{.ImportPath}}:{{range .Imports}} {{.}}{{end}}{{range .TestImports}} {{.}}{{end}}{{range .XTestImports}} {{.}}{{end}}`
	cmd := exec.Command("go", "list", "-tags", "race", "-f", format, "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		name, imports, _ := strings.Cut(line, ":")
		if strings.Contains(imports, " testing/synctest") {
			t.Errorf("a file of %s uses testing/synctest without //go:build !race: it would crash the race suite", name)
		}
	}
}
