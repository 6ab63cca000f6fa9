package api

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
)

// WithLists is a value that JSON has a list in, be it an empty one, wherever the
// value has a slice, and {} for a map: who reads it need not tell them from null.
// It may share slices and maps with the value.
func WithLists(value any) any {
	v := reflect.ValueOf(value)
	if !v.IsValid() {
		return value
	}
	return lists{}.listed(v).Interface()
}

// lists says of types whether a value of theirs may have a slice or a map in it
// that JSON shows. It is asked of each value of an answer, which are many.
type lists map[reflect.Type]bool

func (l lists) in(t reflect.Type) bool {
	in, known := l[t]
	if !known {
		l[t] = true // where the type is met again within itself
		in = l.within(t)
		l[t] = in
	}
	return in
}

func (l lists) within(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Slice:
		return t.Elem().Kind() != reflect.Uint8 && !saysItself(t)
	case reflect.Map, reflect.Interface:
		return !saysItself(t)
	case reflect.Pointer:
		return !saysItself(t) && l.in(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if field := t.Field(i); field.IsExported() && l.in(field.Type) {
				return !saysItself(t)
			}
		}
	}
	return false
}

func (l lists) listed(v reflect.Value) reflect.Value {
	t := v.Type()
	if !l.in(t) {
		return v
	}
	switch t.Kind() {
	case reflect.Slice:
		if v.Len() > 0 && !l.in(t.Elem()) {
			return v
		}
		all := reflect.MakeSlice(t, v.Len(), v.Len())
		for i := range v.Len() {
			all.Index(i).Set(l.listed(v.Index(i)))
		}
		return all
	case reflect.Map:
		if v.Len() > 0 && !l.in(t.Elem()) {
			return v
		}
		all := reflect.MakeMapWithSize(t, v.Len())
		for key, value := range v.Seq2() {
			all.SetMapIndex(key, l.listed(value))
		}
		return all
	case reflect.Struct:
		all := reflect.New(t).Elem()
		all.Set(v)
		for i := range t.NumField() {
			if to := all.Field(i); to.CanSet() && l.in(to.Type()) && !leftOut(t.Field(i), to) {
				to.Set(l.listed(to))
			}
		}
		return all
	case reflect.Pointer:
		if v.IsNil() {
			return v
		}
		to := reflect.New(t.Elem())
		to.Elem().Set(l.listed(v.Elem()))
		return to
	case reflect.Interface:
		if v.IsNil() {
			return v
		}
		return l.listed(v.Elem())
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
