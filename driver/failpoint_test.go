package driver

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// unguarded are pairs of writes without a failpoint in between, and why none
// is needed.
var unguarded = map[string]string{
	"Swarm.bindSwarm": "the plan repeats it until the journal has the name",
	"Replicas.stayed": "the plan takes the mark away, and answers, of its own",
}

// TestFailpointBetweenAllWrites reads the sources: on every way through what
// Docker's calls and the plan's steps do to a network, a failpoint stands
// between two writes, to the store, the journal, the engine or the kernel.
// tests/docker has the agent die at each.
func TestFailpointBetweenAllWrites(t *testing.T) {
	r := readWrites(t)
	roots := []string{"Networks.CreateNetwork", "Networks.DeleteNetwork", "Swarm.AllocateNetwork", "Swarm.FreeNetwork"}
	ast.Inspect(r.functions["Replicas.act"], func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			if name := r.called(call); name != "" {
				roots = append(roots, name)
			}
		}
		return true
	})
	if len(roots) < 15 {
		t.Fatalf("act calls only %v", roots)
	}
	for _, root := range roots {
		r.within = nil
		r.function(root, false)
	}
	for name := range unguarded {
		if !r.met[name] {
			t.Errorf("%s is excused and needs it no more", name)
		}
	}
}

// writes follows the services' functions through their statements.
type writes struct {
	*testing.T
	set       *token.FileSet
	functions map[string]*ast.FuncDecl // by SERVICE.METHOD
	receivers map[string]string        // services by what their methods call them
	journal   []string                 // what changes a Memory: whatever of it can fail
	within    []string                 // the functions being followed
	met       map[string]bool          // excuses that were needed
}

func readWrites(t *testing.T) *writes {
	r := &writes{T: t, set: token.NewFileSet(), functions: map[string]*ast.FuncDecl{}, receivers: map[string]string{}, met: map[string]bool{}}
	paths, err := filepath.Glob("*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(r.set, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil {
				r.method(f)
			}
		}
	}
	for _, name := range services {
		if !slices.Contains(slices.Collect(maps.Values(r.receivers)), name) {
			t.Errorf("%s is followed and is no type that has methods", name)
		}
	}
	if !slices.Contains(r.journal, "Change") || !slices.Contains(r.journal, "Note") {
		t.Fatalf("what changes a Memory is only %v", r.journal)
	}
	return r
}

// method takes note of a service's, or of one that changes a Memory.
func (r *writes) method(f *ast.FuncDecl) {
	switch on := receiver(f); {
	case slices.Contains(services, on):
		called := f.Recv.List[0].Names[0].Name
		if other := cmp.Or(r.receivers[called], on); other != on {
			r.Errorf("%s and %s call themselves %s", on, other, called)
		}
		r.receivers[called] = on
		r.functions[on+"."+f.Name.Name] = f
	case on == "Memory" && f.Name.IsExported() && canFail(f):
		r.journal = append(r.journal, f.Name.Name)
	}
}

func canFail(f *ast.FuncDecl) bool {
	if f.Type.Results == nil {
		return false
	}
	last, ok := f.Type.Results.List[len(f.Type.Results.List)-1].Type.(*ast.Ident)
	return ok && last.Name == "error"
}

func receiver(f *ast.FuncDecl) string {
	star, ok := f.Recv.List[0].Type.(*ast.StarExpr)
	if !ok {
		return ""
	}
	if name, ok := star.X.(*ast.Ident); ok {
		return name.Name
	}
	return ""
}

// services are the types whose methods are followed.
var services = []string{"Host", "Sandboxes", "Endpoints", "Containers", "Node", "Networks", "Swarm", "Imports", "Replicas", "Reconciler", "Commands"}

// called is the service's method that x.NAME(...) or x.service.NAME(...) calls,
// or "". Every service has those of a Host.
func (r *writes) called(call *ast.CallExpr) string {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	service := ""
	switch on := f.X.(type) {
	case *ast.Ident:
		service = r.receivers[on.Name]
	case *ast.SelectorExpr:
		if i := slices.IndexFunc(services, func(name string) bool { return strings.EqualFold(name, on.Sel.Name) }); i >= 0 {
			service = services[i]
		}
	}
	for _, on := range []string{service, "Host"} {
		if name := on + "." + f.Sel.Name; service != "" && r.functions[name] != nil {
			return name
		}
	}
	return ""
}

// written are the calls that leave something behind, by what they are called
// on; those on a Memory are read from its source. The end of a swarm's claims is
// left out: it is many writes, and is begun anew until none is left.
var written = map[string][]string{
	"KV":      {"Commit"},
	"Engine":  {"CreateNetwork", "RemoveNetwork", "Connect", "Disconnect"},
	"Parents": {"Prepare", "Release"},
}

// isFailpoint reports whether a call is failpoint.Reach(NAME).
func isFailpoint(call *ast.CallExpr) bool {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || f.Sel.Name != "Reach" {
		return false
	}
	on, ok := f.X.(*ast.Ident)
	return ok && on.Name == "failpoint"
}

func (r *writes) isWrite(call *ast.CallExpr) bool {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	on, ok := f.X.(*ast.SelectorExpr)
	if ok && on.Sel.Name == "Memory" {
		return slices.Contains(r.journal, f.Sel.Name)
	}
	return ok && slices.Contains(written[on.Sel.Name], f.Sel.Name)
}

// function follows one; dirty reports that a write came before without
// a failpoint since, also in the answer.
func (r *writes) function(name string, dirty bool) bool {
	if slices.Contains(r.within, name) {
		return dirty
	}
	r.within = append(r.within, name)
	dirty, _ = r.statements(r.functions[name].Body.List, dirty)
	r.within = r.within[:len(r.within)-1]
	return dirty
}

func (r *writes) statements(list []ast.Stmt, dirty bool) (after, ended bool) {
	for _, s := range list {
		if dirty, ended = r.statement(s, dirty); ended {
			return dirty, true
		}
	}
	return dirty, false
}

func (r *writes) statement(s ast.Stmt, dirty bool) (after, ended bool) {
	switch s := s.(type) {
	case *ast.IfStmt:
		return r.branch(s, dirty), false
	case *ast.RangeStmt:
		for range 2 { // a write of one turn may follow that of the one before
			body, _ := r.statements(s.Body.List, dirty)
			dirty = dirty || body
		}
		return dirty, false
	case *ast.ReturnStmt, *ast.BranchStmt:
		return r.calls(s, dirty), true
	case *ast.DeferStmt, *ast.GoStmt:
		return dirty, false
	}
	return r.calls(s, dirty), false
}

// branch follows an if. What is done about an error comes after no write.
func (r *writes) branch(s *ast.IfStmt, dirty bool) bool {
	if s.Init != nil {
		dirty, _ = r.statement(s.Init, dirty)
	}
	dirty = r.calls(s.Cond, dirty)
	if handlesError(s.Cond) {
		return dirty
	}
	if body, ended := r.statements(s.Body.List, dirty); !ended {
		dirty = dirty || body
	}
	return dirty
}

func handlesError(cond ast.Expr) bool {
	found := false
	ast.Inspect(cond, func(n ast.Node) bool {
		if b, ok := n.(*ast.BinaryExpr); ok && b.Op == token.NEQ {
			if x, ok := b.X.(*ast.Ident); ok && (x.Name == "err" || x.Name == "refused") {
				found = true
			}
		}
		return true
	})
	return found
}

// calls follows the calls of one statement, in the order they are written.
func (r *writes) calls(n ast.Node, dirty bool) bool {
	ast.Inspect(n, func(n ast.Node) bool {
		if _, literal := n.(*ast.FuncLit); literal {
			return false
		}
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		name := r.called(call)
		switch {
		case isFailpoint(call):
			dirty = false
		case r.isWrite(call) && dirty:
			r.complain(call)
		case r.isWrite(call):
			dirty = true
		case name != "":
			dirty = r.function(name, dirty)
		}
		return true
	})
	return dirty
}

func (r *writes) complain(call *ast.CallExpr) {
	for _, name := range r.within {
		if unguarded[name] != "" {
			r.met[name] = true
			return
		}
	}
	r.Errorf("%s: no failpoint between this write and the one before, in %s", r.set.Position(call.Pos()), strings.Join(r.within, " > "))
}
