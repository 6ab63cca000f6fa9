package api_test

import (
	"encoding"
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"gvlan/cmd/internal/api"
)

// spelling is how every field of an answer is called in JSON.
var spelling = regexp.MustCompile(`^[a-z][a-zA-Z0-9]*$`)

// TestFieldsAreSpeltAlike: scripts find every field of every answer by one rule.
func TestFieldsAreSpeltAlike(t *testing.T) {
	seen := map[reflect.Type]bool{}
	for _, answer := range []any{
		api.Status{}, api.NodeView{}, api.MemberView{}, api.NetworkView{}, api.NameView{}, api.NameCounts{}, api.Looked{}, api.LeaseDetail{}, api.PoolView{},
		api.WhoisAnswer{}, api.Events{}, api.EventTold{}, api.Audit{}, api.StoreView{}, api.Backup{}, api.Restored{}, api.JoinLine{}, api.AuthorityRotation{}, api.Recovered{}, api.StoreReads{},
	} {
		spelt(t, reflect.TypeOf(answer), seen)
	}
}

func spelt(t *testing.T, of reflect.Type, seen map[reflect.Type]bool) {
	t.Helper()
	if of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice || of.Kind() == reflect.Map {
		spelt(t, of.Elem(), seen)
		return
	}
	own := of.Implements(reflect.TypeFor[json.Marshaler]()) || of.Implements(reflect.TypeFor[encoding.TextMarshaler]())
	if of.Kind() != reflect.Struct || own || seen[of] {
		return
	}
	seen[of] = true
	for i := range of.NumField() {
		field := of.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.IsExported() && !field.Anonymous && name != "-" && !spelling.MatchString(name) {
			t.Errorf("%s.%s is called %q in JSON", of, field.Name, name)
		}
		if field.IsExported() {
			spelt(t, field.Type, seen)
		}
	}
}
