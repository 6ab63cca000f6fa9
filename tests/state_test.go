package tests

import (
	"go/ast"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// setByLinker are variables the build sets with -ldflags -X.
var setByLinker = []string{"cmd/gvlan version"}

// TestNoPackageState: a package-level variable is an error, a table or a
// compiled pattern that nothing ever changes. One without a value waits to
// be changed; one that a function assigns is changed; a lock, a map made
// empty or a pointer is there for nothing else.
func TestNoPackageState(t *testing.T) {
	assigned := assignedNames(t)
	for _, s := range sources(t) {
		if isTest(s.path) {
			continue
		}
		folder := filepath.Dir(s.path)
		for _, v := range packageVars(s.file) {
			name := v.name.Name
			if name == "_" || v.embedded || slices.Contains(setByLinker, folder+" "+name) {
				continue
			}
			switch {
			case v.value == nil:
				t.Errorf("%s: var %s has no value: it waits to be changed", s.at(v.name), name)
			case isMutable(v.value):
				t.Errorf("%s: var %s is made to be changed", s.at(v.name), name)
			case assigned[folder+" "+name]:
				t.Errorf("%s: var %s is changed by a function", s.at(v.name), name)
			case v.name.IsExported() && !strings.HasPrefix(name, "Err"):
				t.Errorf("%s: var %s can be changed by every importer", s.at(v.name), name)
			}
		}
	}
}

// packageVar is one name of a package-level var declaration.
type packageVar struct {
	name     *ast.Ident
	value    ast.Expr // nil without one
	embedded bool     // filled by go:embed
}

func packageVars(file *ast.File) []packageVar {
	var vars []packageVar
	for _, decl := range file.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok || group.Tok != token.VAR {
			continue
		}
		for _, spec := range group.Specs {
			spec := spec.(*ast.ValueSpec)
			for i, name := range spec.Names {
				v := packageVar{name: name, embedded: isEmbed(group.Doc) || isEmbed(spec.Doc)}
				if i < len(spec.Values) {
					v.value = spec.Values[i]
				}
				vars = append(vars, v)
			}
		}
	}
	return vars
}

func isEmbed(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") })
}

// isMutable goes by the initial value: pointers, channels, empty maps, and
// anything of sync.
func isMutable(value ast.Expr) bool {
	switch v := value.(type) {
	case *ast.UnaryExpr:
		return v.Op == token.AND
	case *ast.CallExpr:
		id, ok := v.Fun.(*ast.Ident)
		return ok && (id.Name == "new" || id.Name == "make") || strings.HasPrefix(callee(v), "sync.")
	case *ast.CompositeLit:
		if selector, ok := v.Type.(*ast.SelectorExpr); ok {
			id, ok := selector.X.(*ast.Ident)
			return ok && (id.Name == "sync" || id.Name == "atomic")
		}
		return len(v.Elts) == 0
	}
	return false
}

// assignedNames are the "folder name" of every package-level variable that
// some function of its package assigns to, whole or in part. Names that a
// function declares itself hide the variable and do not count.
func assignedNames(t *testing.T) map[string]bool {
	assigned := map[string]bool{}
	for _, s := range sources(t) {
		for _, f := range s.funcs() {
			own := declaredIn(f)
			note := func(e ast.Expr) {
				if id := rootOf(e); id != nil && !own[id.Name] {
					assigned[filepath.Dir(s.path)+" "+id.Name] = true
				}
			}
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.AssignStmt:
					if n.Tok != token.DEFINE {
						for _, left := range n.Lhs {
							note(left)
						}
					}
				case *ast.IncDecStmt:
					note(n.X)
				case *ast.CallExpr:
					if id, ok := n.Fun.(*ast.Ident); ok && (id.Name == "delete" || id.Name == "clear") {
						note(n.Args[0])
					}
				}
				return true
			})
		}
	}
	return assigned
}

// declaredIn are the names a function declares: parameters, results,
// receivers and locals.
func declaredIn(f *ast.FuncDecl) map[string]bool {
	names := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			for _, id := range n.Names {
				names[id.Name] = true
			}
		case *ast.ValueSpec:
			for _, id := range n.Names {
				names[id.Name] = true
			}
		case *ast.AssignStmt:
			for _, left := range n.Lhs {
				if id, ok := left.(*ast.Ident); ok && n.Tok == token.DEFINE {
					names[id.Name] = true
				}
			}
		case *ast.RangeStmt:
			for _, e := range []ast.Expr{n.Key, n.Value} {
				if id, ok := e.(*ast.Ident); ok && n.Tok == token.DEFINE {
					names[id.Name] = true
				}
			}
		}
		return true
	})
	return names
}

// rootOf is the variable behind x, x.f, x[i] and *x.
func rootOf(e ast.Expr) *ast.Ident {
	for {
		switch v := e.(type) {
		case *ast.Ident:
			return v
		case *ast.SelectorExpr:
			e = v.X
		case *ast.IndexExpr:
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
