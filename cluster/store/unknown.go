package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"
)

// Unknown is what a record, or a part of one, holds that this gvlan does not
// know: the text of a JSON object, "" for nothing. Decode fills it and Encode
// puts it back, so that what a newer gvlan wrote outlives a change by an older
// one. Who changes a record therefore changes the one it read, and begins no new
// one.
type Unknown string

// kinds are the records of the store: Encode writes no others.
var kinds = shapes(
	Meta{}, Epoch{}, Live{}, Node{}, Refs{}, Endpoint{}, MAC{}, Removal{}, Tombstone{}, Quarantine{}, DefaultPool{}, GossipKeys{},
	Gate{}, Recovery{}, Reasserted{}, Network{}, Lease{}, Conflict{}, Cooldown{}, Reservation{}, Trail{},
	Member{}, Size{}, JoinSecret{}, Roots{}, Certificate{}, Life{},
)

// shape says where a type holds what is unknown.
type shape struct {
	unknown int             // index of its field of type Unknown
	members map[string]bool // that it knows, in lower case: encoding/json takes any
	parts   []inner
}

// inner is a field that is a type with a shape, points to one or lists some.
type inner struct {
	index  int
	member string
	list   bool
	shape  *shape
}

func shapes(records ...any) map[reflect.Type]*shape {
	all := map[reflect.Type]*shape{}
	for _, record := range records {
		all[reflect.TypeOf(record)] = shapeOf(reflect.TypeOf(record))
	}
	return all
}

// shapeOf panics for a record that has no place for what is unknown.
func shapeOf(t reflect.Type) *shape {
	s := &shape{unknown: -1, members: map[string]bool{}}
	for i := range t.NumField() {
		field := t.Field(i)
		if field.Type == reflect.TypeFor[Unknown]() {
			s.unknown = i
			continue
		}
		member, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		s.members[strings.ToLower(member)] = true
		of := field.Type
		if of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		if of.Kind() == reflect.Struct && of.PkgPath() == t.PkgPath() {
			s.parts = append(s.parts, inner{i, member, field.Type.Kind() == reflect.Slice, shapeOf(of)})
		}
	}
	if s.unknown < 0 {
		panic(fmt.Sprintf("store: %s has no Unknown", t))
	}
	return s
}

// holds reports whether anything unknown is in a value of this shape.
func (s *shape) holds(v reflect.Value) bool {
	if v.Field(s.unknown).Len() > 0 {
		return true
	}
	for _, p := range s.parts {
		for of := range each(v.Field(p.index)) {
			if p.shape.holds(of) {
				return true
			}
		}
	}
	return false
}

// each yields the structs that a field is, points to or lists.
func each(field reflect.Value) func(yield func(reflect.Value) bool) {
	return func(yield func(reflect.Value) bool) {
		switch field.Kind() {
		case reflect.Struct:
			yield(field)
		case reflect.Pointer:
			if !field.IsNil() {
				yield(field.Elem())
			}
		case reflect.Slice:
			for i := range field.Len() {
				if !yield(field.Index(i)) {
					return
				}
			}
		}
	}
}

// refuseNewer returns ErrNewer for a record of a schema that this gvlan does not
// know, whatever else is in it.
func refuseNewer(value []byte) error {
	if !bytes.Contains(value, []byte(`"schema"`)) {
		return nil // as in every record of the first
	}
	var is struct {
		Schema json.RawMessage `json:"schema"`
	}
	if json.Unmarshal(value, &is) != nil || is.Schema == nil {
		return nil // who reads it says what is wrong
	}
	var schema int
	if err := json.Unmarshal(is.Schema, &schema); err != nil || schema > Schema {
		return fmt.Errorf("schema %s: %w", is.Schema, ErrNewer)
	}
	return nil
}

// readJSON reads a record. One with nothing unknown in it, as nearly all are, is
// read once. Of what is no record of the store, only what is known is read.
func readJSON(value []byte, into any) error {
	if err := refuseNewer(value); err != nil {
		return err
	}
	record := reflect.ValueOf(into).Elem()
	s := kinds[record.Type()]
	if s == nil {
		return json.Unmarshal(value, into)
	}
	known := json.NewDecoder(bytes.NewReader(value))
	known.DisallowUnknownFields()
	if known.Decode(into) == nil && known.InputOffset() == int64(len(value)) {
		return nil
	}
	record.SetZero()
	if err := json.Unmarshal(value, into); err != nil {
		return err
	}
	_, err := s.keep(value, record)
	return err
}

// keep fills in what is unknown.
func (s *shape) keep(text json.RawMessage, v reflect.Value) (json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, err
	}
	if err := s.eachPart(members, v, (*shape).keep); err != nil {
		return nil, err
	}
	maps.DeleteFunc(members, func(name string, _ json.RawMessage) bool { return s.members[strings.ToLower(name)] })
	if len(members) == 0 {
		return text, nil
	}
	unknown, err := json.Marshal(members)
	v.Field(s.unknown).SetString(string(unknown))
	return text, err
}

// put puts what is unknown into the text of a value.
func (s *shape) put(text json.RawMessage, v reflect.Value) (json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, err
	}
	if err := s.eachPart(members, v, (*shape).put); err != nil {
		return nil, err
	}
	if unknown := v.Field(s.unknown).String(); unknown != "" {
		if err := json.Unmarshal([]byte(unknown), &members); err != nil {
			return nil, err
		}
	}
	return json.Marshal(members)
}

// eachPart has f see every part of a value with its text, for which f gives another one.
func (s *shape) eachPart(members map[string]json.RawMessage, v reflect.Value, f func(*shape, json.RawMessage, reflect.Value) (json.RawMessage, error)) error {
	for _, p := range s.parts {
		text := members[p.member]
		if text == nil {
			continue // left out, or in letters that only encoding/json takes for it
		}
		texts := []json.RawMessage{text} // one, unless it is a list
		if p.list {
			if err := json.Unmarshal(text, &texts); err != nil {
				return err
			}
		}
		i := 0
		for of := range each(v.Field(p.index)) {
			if i == len(texts) {
				break // the same member twice, in other letters: encoding/json took another one
			}
			var err error
			if texts[i], err = f(p.shape, texts[i], of); err != nil {
				return err
			}
			i++
		}
		if !p.list {
			members[p.member] = texts[0]
			continue
		}
		var err error
		if members[p.member], err = json.Marshal(texts); err != nil {
			return err
		}
	}
	return nil
}

// writeJSON writes a record, with what is unknown in it.
func writeJSON(record any) ([]byte, error) {
	raw, err := json.Marshal(record)
	v := reflect.ValueOf(record)
	s := kinds[v.Type()]
	if s == nil {
		panic(fmt.Sprintf("store: %s is none of the store's records", v.Type()))
	}
	if err != nil || !s.holds(v) {
		return raw, err
	}
	return s.put(raw, v)
}
