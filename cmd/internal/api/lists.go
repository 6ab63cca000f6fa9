package api

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
)

// WithLists is a value that JSON has a list in, be it an empty one, wherever the
// value has a slice, and {} for a map: who reads it need not tell them from null. It shares with the
// value only what has no slice in it.
func WithLists(value any) any {
	v := reflect.ValueOf(value)
	if !v.IsValid() {
		return value
	}
	return listed(v).Interface()
}

func listed(v reflect.Value) reflect.Value {
	switch t := v.Type(); {
	case saysItself(t):
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		all := reflect.MakeSlice(t, v.Len(), v.Len())
		for i := range v.Len() {
			all.Index(i).Set(listed(v.Index(i)))
		}
		return all
	case t.Kind() == reflect.Pointer && !v.IsNil():
		to := reflect.New(t.Elem())
		to.Elem().Set(listed(v.Elem()))
		return to
	case t.Kind() == reflect.Interface && !v.IsNil():
		return listed(v.Elem())
	case t.Kind() == reflect.Struct:
		all := reflect.New(t).Elem()
		all.Set(v)
		for i := range t.NumField() {
			if field := t.Field(i); field.IsExported() && !leftOut(field, v.Field(i)) {
				all.Field(i).Set(listed(v.Field(i)))
			}
		}
		return all
	case t.Kind() == reflect.Map:
		all := reflect.MakeMapWithSize(t, v.Len())
		for key, value := range v.Seq2() {
			all.SetMapIndex(key, listed(value))
		}
		return all
	}
	return v
}

// saysItself reports whether a type has its own way to be JSON.
func saysItself(t reflect.Type) bool {
	return t.Implements(reflect.TypeFor[json.Marshaler]()) || t.Implements(reflect.TypeFor[encoding.TextMarshaler]())
}

// leftOut reports whether a field is none in JSON.
func leftOut(field reflect.StructField, v reflect.Value) bool {
	return strings.Contains(field.Tag.Get("json"), ",omitzero") && v.IsZero()
}
