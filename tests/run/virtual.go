package main

import (
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
)

// Tests in virtual time (testing/synctest) crash under the race detector of
// Go before 1.27 (golang.org/issue/76691). They live in files tagged !race,
// which the toolchain leaves out of race builds by itself, and run in a
// suite of their own. The house test keeps the tag on every such file. Tests
// of what uses a library with races of its own (driver/bgp) are there too.

// virtualSet is what that suite runs.
type virtualSet struct {
	packages []goPackage
	tests    []string
}

// virtualTests finds the tests of all files tagged !race.
func virtualTests(packages []goPackage) (virtualSet, error) {
	var set virtualSet
	for _, p := range packages {
		before := len(set.tests)
		for _, name := range p.Tests {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ParseComments)
			if err != nil {
				return virtualSet{}, fmt.Errorf("look for tests in virtual time: %w", err)
			}
			if notRace(file) {
				set.tests = append(set.tests, testsOf(file)...)
			}
		}
		if len(set.tests) > before {
			set.packages = append(set.packages, p)
		}
	}
	return set, nil
}

// notRace reports whether the file is left out of race builds.
func notRace(file *ast.File) bool {
	for _, group := range file.Comments {
		for _, c := range group.List {
			if !constraint.IsGoBuild(c.Text) {
				continue
			}
			expr, err := constraint.Parse(c.Text)
			plain := func(tag string) bool { return tag != "race" }
			race := func(string) bool { return true }
			return err == nil && expr.Eval(plain) && !expr.Eval(race)
		}
	}
	return false
}

func testsOf(file *ast.File) []string {
	var names []string
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
			names = append(names, f.Name.Name)
		}
	}
	return names
}
