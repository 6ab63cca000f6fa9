package tests

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const storePackage = module + "/cluster/store"

// readKeys are the kinds of records that a function deletes, or writes as bytes,
// by a key it read: no builder and no record stand beside them.
var readKeys = map[string][]string{
	"driver/network.Replicas.sweepAnswers": {"Removal"},
	"ipam.bindings.meetMAC":                {"MAC"},
	"ipam.leases.deletions":                {"Lease"},
	"ipam.withoutName":                     {"Lease"},
	"ipam/audit.judge.ofDefault":           {"DefaultPool"},
	"ipam/audit.judge.ofReservation":       {"Lease"},
	"ipam/evict.Quarantines.forget":        {"Quarantine"},
	"ipam/evict.Quarantines.free":          {"Lease"},
	"ipam/evict.eviction.apply":            {"DefaultPool", "Endpoint", "Lease", "MAC"},
}

// TestOneWriterOfAKey holds the table of who writes which key, in the store's
// DESIGN.md, to every store.Put and store.Delete of the product.
func TestOneWriterOfAKey(t *testing.T) {
	table, found := writersTable(t), map[string][]string{} // packages by kind
	unnamed := map[string]bool{}                           // functions with keys they read
	for _, p := range typedPackages(t, func(p listed) bool {
		return p.ForTest == "" && p.product() && slices.Contains(p.Imports, storePackage) && !strings.HasSuffix(p.ImportPath, "test")
	}) {
		kinds, read := p.writes()
		for function, at := range read {
			unnamed[function] = true
			if readKeys[function] == nil {
				t.Errorf("%s: a key that was read, and nothing says of which kind: add %s to readKeys", at, function)
			}
			for _, kind := range readKeys[function] {
				if !p.mentions(kind) {
					t.Errorf("%s: readKeys has it write %s, which its package never mentions", function, kind)
				}
				kinds = append(kinds, kind)
			}
		}
		slices.Sort(kinds)
		for _, kind := range slices.Compact(kinds) {
			found[kind] = append(found[kind], p.name)
		}
	}
	for function := range readKeys {
		if !unnamed[function] {
			t.Errorf("%s has no key that was read: take it out of readKeys", function)
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(table)) {
		slices.Sort(found[kind])
		slices.Sort(table[kind])
		if !slices.Equal(found[kind], table[kind]) {
			t.Errorf("%s is written by %q; the table in cluster/store/DESIGN.md says by %q", kind, found[kind], table[kind])
		}
		delete(found, kind)
	}
	for kind, packages := range found {
		t.Errorf("%s, written by %q, is not in the table in cluster/store/DESIGN.md", kind, packages)
	}
}

var (
	writersRow = regexp.MustCompile("(?m)^\\| `/[^|]*\\| `(\\w+)` \\|([^|]*)\\|")
	quoted     = regexp.MustCompile("`([^`]+)`")
)

// writersTable reads who may write each kind of record.
func writersTable(t *testing.T) map[string][]string {
	t.Helper()
	table := map[string][]string{}
	for _, row := range writersRow.FindAllStringSubmatch(string(readFile(t, "cluster/store/DESIGN.md")), -1) {
		for _, w := range quoted.FindAllStringSubmatch(row[2], -1) {
			table[row[1]] = append(table[row[1]], w[1])
		}
	}
	if len(table) == 0 {
		t.Fatal("cluster/store/DESIGN.md has no table of who writes which key")
	}
	return table
}

// typed is one package of ours with the types of its expressions.
type typed struct {
	name  string // below the module
	fset  *token.FileSet
	files []*ast.File
	info  *types.Info
}

// listed is what go list says of a package. One with its inner tests comes a
// second time, as "PATH [PATH.test]".
type listed struct {
	ImportPath, ForTest, Dir, Export string
	GoFiles, Imports                 []string
}

// product reports whether it is a package of ours, or that and its inner tests.
func (p listed) product() bool {
	path, ours := strings.CutPrefix(p.ImportPath, module+"/")
	path, _, variant := strings.Cut(path, " ")
	return ours && !strings.HasPrefix(path, "tests/") && !strings.HasSuffix(path, ".test") && (!variant || p.ForTest == module+"/"+path)
}

// typedPackages type-checks the wanted packages, by the export data that the
// toolchain has of what they import.
func typedPackages(t *testing.T, wanted func(listed) bool) (all []typed) {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-export", "-deps", "-test", "-json=ImportPath,ForTest,Dir,Export,GoFiles,Imports", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var ours []listed
	exports := map[string]string{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("read go list: %v", err)
		}
		exports[p.ImportPath] = p.Export
		if wanted(p) {
			ours = append(ours, p)
		}
	}
	fset := token.NewFileSet()
	open := func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }
	config := types.Config{Importer: importer.ForCompiler(fset, "gc", open)}
	for _, p := range ours {
		one := typed{
			name: strings.TrimPrefix(p.ImportPath, module+"/"), fset: fset,
			info: &types.Info{Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}, Types: map[ast.Expr]types.TypeAndValue{}, Selections: map[*ast.SelectorExpr]*types.Selection{}},
		}
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			one.files = append(one.files, file)
		}
		if _, err := config.Check(p.ImportPath, fset, one.files, one.info); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	return all
}

// writes are the kinds of records a package puts or deletes, and where it does
// so by a key that nothing names, by function.
func (p typed) writes() (kinds []string, read map[string]string) {
	read = map[string]string{}
	for _, file := range p.files {
		for _, decl := range file.Decls {
			ast.Inspect(decl, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok || len(call.Args) == 0 {
					return true
				}
				if name := p.ofStore(call.Fun); name != "Put" && name != "Delete" {
					return true
				}
				kind := ""
				for _, arg := range slices.Backward(call.Args) { // the record says more than its key
					if kind == "" {
						kind = p.kindOf(arg, decl)
					}
				}
				if kind == "" {
					read[p.name+"."+nameOf(decl)] = p.fset.Position(call.Pos()).String()
				} else {
					kinds = append(kinds, kind)
				}
				return true
			})
		}
	}
	return kinds, read
}

// nameOf is a function's name, after its receiver's.
func nameOf(decl ast.Decl) string {
	f, ok := decl.(*ast.FuncDecl)
	if !ok {
		return ""
	}
	if f.Recv == nil {
		return f.Name.Name
	}
	return receiverName(f.Recv.List[0].Type) + "." + f.Name.Name
}

// mentions reports whether a package uses a kind of record by its name.
func (p typed) mentions(kind string) bool {
	for _, used := range p.info.Uses {
		if _, ok := used.(*types.TypeName); ok && used.Name() == kind && used.Pkg() != nil && used.Pkg().Path() == storePackage {
			return true
		}
	}
	return false
}

// ofStore is the name of a function of the store's, or "".
func (p typed) ofStore(fun ast.Expr) string {
	sel, ok := fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if f, ok := p.info.Uses[sel.Sel].(*types.Func); ok && f.Pkg() != nil && f.Pkg().Path() == storePackage && f.Signature().Recv() == nil {
		return f.Name()
	}
	return ""
}

// kindOf is the kind of record that an expression tells of: the builder of a
// key, a record that is encoded, a row of one, or a variable that holds one of
// these; "" when it tells of none.
func (p typed) kindOf(expr ast.Expr, within ast.Decl) (kind string) {
	ast.Inspect(expr, func(n ast.Node) bool {
		if kind != "" {
			return false
		}
		switch n := n.(type) {
		case *ast.CallExpr:
			switch name := p.ofStore(n.Fun); {
			case name == "Encode":
				kind = recordName(p.info.Types[n.Args[0]].Type)
			case name == "RestKey":
				kind = "Quarantine"
			case strings.HasSuffix(name, "Key"):
				kind = strings.TrimSuffix(name, "Key")
			}
		case *ast.SelectorExpr:
			if typeName(p.info.Types[n.X].Type) == "Place" { // of an address: pool.Place
				kind = "Lease"
			} else if row, ok := p.info.Types[n.X].Type.(*types.Named); ok && n.Sel.Name == "Key" && row.TypeArgs().Len() == 1 {
				kind = recordName(row.TypeArgs().At(0))
			}
		case *ast.Ident:
			if v, ok := p.info.Uses[n].(*types.Var); ok {
				kind = p.kindOfVar(v, within)
			}
		}
		return kind == ""
	})
	return kind
}

// kindOfVar looks for what a local variable is made of.
func (p typed) kindOfVar(v *types.Var, within ast.Decl) (kind string) {
	ast.Inspect(within, func(n ast.Node) bool {
		assign, ok := n.(*ast.AssignStmt)
		if !ok || kind != "" {
			return kind == ""
		}
		for i, left := range assign.Lhs {
			ident, ok := left.(*ast.Ident)
			if ok && p.info.Defs[ident] == v && len(assign.Lhs) == len(assign.Rhs) {
				kind = p.kindOf(assign.Rhs[i], within)
			}
		}
		return true
	})
	return kind
}

// recordName is the name of a record of the store's, or "".
func recordName(t types.Type) string {
	if named, ok := t.(*types.Named); ok && named.Obj().Pkg() != nil && named.Obj().Pkg().Path() == storePackage {
		return named.Obj().Name()
	}
	return ""
}

func typeName(t types.Type) string {
	if named, ok := t.(*types.Named); ok {
		return named.Obj().Name()
	}
	return ""
}
