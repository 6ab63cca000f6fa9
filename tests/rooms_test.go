package tests

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"testing"
)

// A room is a type with its purpose. These bounds are where one stops being
// one: what goes beyond is several, or lies about in slices.
const (
	maxMethods = 40 // of a type
	maxSpread  = 3  // files with methods of one type
	maxFiles   = 15 // files of a package
)

// TestRoomsAreRooms counts files of packages, methods of types, and the files
// that those are spread over; tests are left out.
func TestRoomsAreRooms(t *testing.T) {
	files := map[string]int{}              // by folder
	methods := map[string]int{}            // by folder and type
	spread := map[string]map[string]bool{} // files with a type's methods
	for _, path := range repoFiles(t, ".go") {
		if isTest(path) {
			continue
		}
		folder := filepath.Dir(path)
		files[folder]++
		file, err := parser.ParseFile(token.NewFileSet(), path, readFile(t, path), parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv == nil {
				continue
			}
			of := folder + "." + receiverName(f.Recv.List[0].Type)
			methods[of]++
			if spread[of] == nil {
				spread[of] = map[string]bool{}
			}
			spread[of][path] = true
		}
	}
	for folder, n := range files {
		if n > maxFiles {
			t.Errorf("package %s has %d files, more than %d", folder, n, maxFiles)
		}
	}
	for of, n := range methods {
		if n > maxMethods || len(spread[of]) > maxSpread {
			t.Errorf("type %s has %d methods in %d files, more than %d or %d", of, n, len(spread[of]), maxMethods, maxSpread)
		}
	}
}

// receiverName is the type's, without pointer and parameters.
func receiverName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiverName(e.X)
	case *ast.IndexExpr:
		return receiverName(e.X)
	case *ast.IndexListExpr:
		return receiverName(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}
