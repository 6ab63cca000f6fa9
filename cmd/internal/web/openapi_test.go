package web

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"gvlan/cmd/internal/api"
)

// document is the description as a reader has it.
func document(t *testing.T) schema {
	t.Helper()
	w := get(t, newSite(t, answers{}), openAPIRoute)
	var all schema
	if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil || w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("it is answered %d, %s: %v", w.Code, w.Header().Get("Content-Type"), err)
	}
	return all
}

// TestAllThatIsServedIsDescribed, and nothing else.
func TestAllThatIsServedIsDescribed(t *testing.T) {
	all := document(t)
	if all["openapi"] != "3.1.0" || all["info"].(schema)["version"] != "test" {
		t.Errorf("it is a document of %v, version %v", all["openapi"], all["info"])
	}
	site := &server{Site: &Site{}}
	served := slices.Collect(maps.Keys(site.paths()))
	served = slices.DeleteFunc(served, func(path string) bool { return !strings.HasPrefix(path, "/v1/") || path == openAPIRoute })
	described := slices.Collect(maps.Keys(all["paths"].(schema)))
	slices.Sort(served)
	slices.Sort(described)
	if !slices.Equal(served, described) {
		t.Errorf("served are %v, and described %v", served, described)
	}
	ids := map[any]bool{}
	for path, item := range all["paths"].(schema) {
		ask := item.(schema)["get"].(schema)
		if id := ask["operationId"]; id == "" || ids[id] {
			t.Errorf("%s is called %q", path, id)
		} else {
			ids[id] = true
		}
		if ask["summary"] == "" {
			t.Errorf("nothing is said of %s", path)
		}
		for _, p := range ask["parameters"].([]any) {
			if p := p.(schema); p["name"] == "" || p["description"] == "" || p["in"] != "query" {
				t.Errorf("%s has a parameter %v", path, p)
			}
		}
	}
}

// TestAnswersAreAsDescribed: whatever an answer holds, its JSON has what its schema
// says, and no more.
func TestAnswersAreAsDescribed(t *testing.T) {
	all := document(t)
	for _, one := range routes() {
		for name, fill := range map[string]bool{"empty": false, "full": true} {
			value := reflect.New(reflect.TypeOf(one.Answer)).Elem()
			if fill {
				fillIn(value, func(string) string { return "x" }, "")
			}
			raw, err := json.Marshal(api.WithLists(value.Interface()))
			if err != nil {
				t.Fatal(err)
			}
			var sent any
			if err := json.Unmarshal(raw, &sent); err != nil {
				t.Fatal(err)
			}
			kind := "application/json"
			if one.Lines {
				kind = linesType
			}
			said := all["paths"].(schema)[one.Path].(schema)["get"].(schema)["responses"].(schema)["200"].(schema)["content"].(schema)[kind].(schema)["schema"].(schema)
			c := check{all, fill}
			for _, wrong := range c.against(said, sent, "") {
				t.Errorf("%s, %s: %s", one.Path, name, wrong)
			}
		}
	}
}

// check compares JSON with schemas of a document; whole wants all that they have.
type check struct {
	document schema
	whole    bool
}

func (c check) against(said schema, sent any, at string) (wrong []string) {
	if ref, refers := said["$ref"].(string); refers {
		name := strings.TrimPrefix(ref, "#/components/schemas/")
		to, known := c.document["components"].(schema)["schemas"].(schema)[name].(schema)
		if !known {
			return []string{fmt.Sprintf("%s refers to %s", at, ref)}
		}
		return c.against(to, sent, at)
	}
	if either, has := said["anyOf"].([]any); has {
		for _, one := range either {
			if wrong = c.against(one.(schema), sent, at); len(wrong) == 0 {
				return nil
			}
		}
		return wrong
	}
	no := []string{fmt.Sprintf("%s is %v, and not a %v", at, sent, said["type"])}
	switch said["type"] {
	case "null":
		if sent != nil {
			return no
		}
	case "string":
		text, is := sent.(string)
		if !is {
			return no
		}
		if said["format"] == "date-time" {
			if _, err := time.Parse(time.RFC3339Nano, text); err != nil {
				return no
			}
		}
	case "integer":
		if n, is := sent.(float64); !is || n != float64(int64(n)) || said["minimum"] == 0.0 && n < 0 {
			return no
		}
	case "number":
		if _, is := sent.(float64); !is {
			return no
		}
	case "boolean":
		if _, is := sent.(bool); !is {
			return no
		}
	case "array":
		list, is := sent.([]any)
		if !is {
			return no
		}
		for i, one := range list {
			wrong = append(wrong, c.against(said["items"].(schema), one, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case "object":
		object, is := sent.(schema)
		if !is {
			return no
		}
		return c.fields(said, object, at)
	default:
		return []string{fmt.Sprintf("%s has no type", at)}
	}
	return wrong
}

func (c check) fields(said, object schema, at string) (wrong []string) {
	properties, _ := said["properties"].(schema)
	for name, value := range object {
		of, known := properties[name].(schema)
		if !known {
			if of, known = said["additionalProperties"].(schema); !known {
				wrong = append(wrong, fmt.Sprintf("%s.%s is not described", at, name))
				continue
			}
		}
		wrong = append(wrong, c.against(of, value, at+"."+name)...)
	}
	needed, _ := said["required"].([]any)
	for name := range properties {
		if _, has := object[name]; !has && (c.whole && !strings.Contains(at, "."+name) || slices.Contains(needed, any(name))) {
			wrong = append(wrong, fmt.Sprintf("%s.%s is not there", at, name))
		}
	}
	return wrong
}

// fillIn gives every field of a value something, and its strings what text says of a
// field's path.
func fillIn(v reflect.Value, text func(at string) string, at string) {
	switch t := v.Type(); {
	case t == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(noon.Add(-time.Hour)))
	case t == reflect.TypeFor[netip.Addr]():
		v.Set(reflect.ValueOf(netip.MustParseAddr("10.0.0.3")))
	case t == reflect.TypeFor[netip.Prefix]():
		v.Set(reflect.ValueOf(netip.MustParsePrefix("10.0.0.0/24")))
	case t == reflect.TypeFor[json.RawMessage]():
		v.Set(reflect.ValueOf(json.RawMessage("{}")))
	default:
		fillKind(v, text, at)
	}
}

func fillKind(v reflect.Value, text func(at string) string, at string) {
	t := v.Type()
	switch t.Kind() {
	case reflect.String:
		v.SetString(text(at))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(3)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(3)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(2.5)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(t, 1, 1))
		fillIn(v.Index(0), text, at)
	case reflect.Map:
		key, value := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem()
		fillIn(key, text, at+" key")
		fillIn(value, text, at)
		v.Set(reflect.MakeMap(t))
		v.SetMapIndex(key, value)
	case reflect.Pointer:
		if strings.Count(at, t.Elem().Name()+".") < 2 { // of a type within itself
			v.Set(reflect.New(t.Elem()))
			fillIn(v.Elem(), text, at)
		}
	case reflect.Struct:
		for i := range t.NumField() {
			if field := t.Field(i); field.IsExported() {
				fillIn(v.Field(i), text, at+t.Name()+"."+field.Name+" ")
			}
		}
	}
}

// withheld are the routes of commands that the site does not serve: they change
// something, tell a secret, or are about this host's files.
var withheld = []string{
	"AuditRoute", "BackupRoute", "CARotateRoute", "CAStateRoute", "DrainRoute", "EvictRoute", "ImportRoute", "RecoverRoute", "ReservationsRoute",
	"RestoreRoute", "RotateRoute", "SettingsRoute", "SetupRoute", "StoreInitRoute", "StoreJoinRoute", "StoreLeaveRoute", "StoreRecoverRoute",
	"StoreSizeRoute", "StoreReadsRoute", "TokenRotateRoute", "TokenRoute", "WebKeyRoute",
}

// TestCommandsAskTheSame: what an operator command asks is served beside the pages,
// but for what is withheld.
func TestCommandsAskTheSame(t *testing.T) {
	described := map[string]bool{}
	for _, one := range routes() {
		described[one.Path] = true
	}
	values := constants(t, "../api")
	asked := map[string]bool{}
	walkGo(t, "../cli", func(file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool {
			if selected, is := n.(*ast.SelectorExpr); is {
				if of, is := selected.X.(*ast.Ident); is && of.Name == "api" && strings.HasSuffix(selected.Sel.Name, "Route") {
					asked[selected.Sel.Name] = true
				}
			}
			return true
		})
	})
	if len(asked) < 20 {
		t.Fatalf("commands ask %v", asked)
	}
	for name := range asked {
		if described[values[name]] == slices.Contains(withheld, name) {
			t.Errorf("commands ask api.%s: is it described (it is: %v), or withheld?", name, described[values[name]])
		}
	}
}

// constants are the string constants of a package's files.
func constants(t *testing.T, folder string) map[string]string {
	t.Helper()
	values := map[string]string{}
	walkGo(t, folder, func(file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, is := n.(*ast.ValueSpec); is && len(spec.Names) == len(spec.Values) {
				for i, name := range spec.Names {
					if value, is := spec.Values[i].(*ast.BasicLit); is {
						values[name.Name] = strings.Trim(value.Value, `"`)
					}
				}
			}
			return true
		})
	})
	return values
}

// walkGo hands over the files of a folder that are no tests.
func walkGo(t *testing.T, folder string, take func(*ast.File)) {
	t.Helper()
	if err := fs.WalkDir(os.DirFS(folder), ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(folder, name), nil, parser.SkipObjectResolution)
		if err == nil {
			take(file)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
