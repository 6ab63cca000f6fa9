package web

import (
	"encoding"
	"encoding/json"
	"path"
	"reflect"
	"strings"
	"time"

	"gvlan/cmd/internal/api"
)

// openAPIRoute describes the others: OpenAPI 3.1.
const openAPIRoute = "/v1/openapi.json"

// linesType is of answers that go on: a JSON value a line (github.com/ndjson).
const linesType = "application/x-ndjson"

// route is a question that the site answers as JSON.
type route struct {
	Path   string
	Says   string // what it answers
	Asks   []parameter
	Answer any  // a value of the type that it has; of Lines each one's
	Lines  bool // it is sent line by line
}

// parameter is one of the query.
type parameter struct {
	Name   string
	Means  string
	Needed bool
	Kind   string // of JSON Schema; "": string
}

// routes are those questions of the status socket that change nothing and tell no
// secret. None is served that is not described here.
func routes() []route {
	known := parameter{Name: "known", Means: "Present, with any value: answer at once with what the agent knows, without asking the store."}
	from := parameter{Name: "from", Means: "Name or id of a container: only what it sees."}
	network := parameter{Name: "network", Means: "Name of a network; without it, any."}
	node := parameter{Name: "node", Means: "Name or node of a host; without it, any."}
	event := []parameter{
		{Name: "of", Means: "An address, a MAC address or the name of a container."}, network, node,
		{Name: "kinds", Means: "Kinds of events, with commas between them."},
		{Name: "since", Means: "Only from this time on, as RFC 3339 has it."},
	}
	return []route{
		{Path: api.StatusRoute, Says: "How this host's agent is, and what is wrong.", Answer: api.Status{}},
		{Path: api.NetworksRoute, Says: "The networks, and how each fares on every host.", Asks: []parameter{known}, Answer: []api.NetworkView{}},
		{Path: api.NetworkRoute, Says: "One network.", Asks: []parameter{{Name: "name", Means: "Its name.", Needed: true}}, Answer: api.NetworkView{}},
		{Path: api.PoolsRoute, Says: "How full the subnets are.", Answer: []api.PoolView{}},
		{Path: api.SubnetRoute, Says: "The addresses of a subnet or of a part of it, one by one or in blocks.", Asks: []parameter{
			{Name: "network", Means: "Name of its network.", Needed: true},
			{Name: "subnet", Means: "The subnet, ADDRESS/BITS.", Needed: true},
			{Name: "at", Means: "A part of the subnet, ADDRESS/BITS; without it, all of it."},
			{Name: "node", Means: "The node whose network is meant, where several have one of that name."},
		}, Answer: api.SubnetView{}},
		{Path: api.LeasesRoute, Says: "Addresses and who has them: lists, of which an empty one is the last. Without the last it is not whole.", Asks: []parameter{network, node}, Answer: []api.LeaseView{}, Lines: true},
		{Path: api.LeaseRoute, Says: "All there is of one address.", Asks: []parameter{
			{Name: "address", Means: "The address.", Needed: true}, network,
			{Name: "segment", Means: "The segment that it is of; without it, any."},
		}, Answer: []api.LeaseDetail{}},
		{Path: api.WhoisRoute, Says: "Whose an address, a MAC address or a name is.", Asks: []parameter{
			{Name: "of", Means: "Address, MAC address, or name of a container, a host or a network.", Needed: true},
		}, Answer: api.WhoisAnswer{}},
		{Path: api.ConflictsRoute, Says: "Addresses that somebody on the LAN has who is none of the cluster's.", Answer: []api.ConflictView{}},
		{Path: api.NodesRoute, Says: "The hosts.", Asks: []parameter{known}, Answer: []api.NodeView{}},
		{Path: api.MembersRoute, Says: "The nodes as the gossip of this one sees them.", Answer: []api.MemberView{}},
		{Path: api.StoreRoute, Says: "The cluster's own store.", Answer: api.StoreView{}},
		{Path: api.RoutesRoute, Says: "Routes of this host to containers of other hosts.", Answer: []api.RouteView{}},
		{Path: api.BGPRoute, Says: "Sessions of this host with routers.", Answer: api.BGPView{}},
		{Path: api.NamesRoute, Says: "What resolves to what.", Asks: []parameter{from}, Answer: []api.NameView{}},
		{Path: api.LookupRoute, Says: "What a question about a name is answered.", Asks: []parameter{
			{Name: "name", Means: "The name.", Needed: true}, {Name: "type", Means: "Type of record; without it, A."}, from,
		}, Answer: api.Looked{}},
		{Path: api.DoubtsRoute, Says: "What is doubtful about names, in sentences.", Asks: []parameter{from}, Answer: []string{}},
		{Path: api.CountsRoute, Says: "How many questions about names were answered how, since the agent started.", Answer: []api.NameCounts{}},
		{Path: api.EventsRoute, Says: "What happened in the last day, the oldest first.", Asks: append(event[:len(event):len(event)],
			parameter{Name: "limit", Means: "The newest so many only; without it or with 0, all.", Kind: "integer"}), Answer: api.Events{}},
		{Path: api.EventsFollowRoute, Says: "What happens, as it does, until the reader goes; with since, from then on.", Asks: event, Answer: api.EventTold{}, Lines: true},
	}
}

// schema is a JSON Schema (2020-12), or another object of an OpenAPI document.
type schema = map[string]any

// description is the document about the routes of an agent of that version.
func description(version string) schema {
	types := schemas{}
	failure := types.of(reflect.TypeFor[api.Failed]())
	paths := schema{}
	for _, one := range routes() {
		kind := "application/json"
		if one.Lines {
			kind = linesType
		}
		asks := []schema{}
		for _, p := range one.Asks {
			of := "string"
			if p.Kind != "" {
				of = p.Kind
			}
			asks = append(asks, schema{"name": p.Name, "in": "query", "required": p.Needed, "description": p.Means, "schema": schema{"type": of}})
		}
		answers := schema{"200": schema{"description": one.Says, "content": schema{kind: schema{"schema": types.of(reflect.TypeOf(one.Answer))}}}}
		if one.Lines {
			answers["200"].(schema)["description"] = one.Says + " A line of JSON each."
		}
		for status, means := range map[string]string{
			"400": "The question has no answer as it stands.",
			"404": "What is asked for is not there.",
			"503": "The store, or the agent, cannot answer now; Retry-After says when to ask again.",
		} {
			answers[status] = schema{"description": means, "content": schema{"application/json": schema{"schema": failure}}}
		}
		paths[one.Path] = schema{"get": schema{
			"operationId": strings.ReplaceAll(strings.TrimPrefix(one.Path, "/v1/"), "/", "-"), "summary": one.Says, "parameters": asks, "responses": answers,
		}}
	}
	return schema{
		"openapi": "3.1.0",
		"info": schema{
			"title": "gvlan", "version": version,
			"description": "What an agent of gvlan tells of its cluster: the answers that operator commands get. Fields come and go; none changes its meaning.",
		},
		"paths":      paths,
		"components": schema{"schemas": types},
	}
}

// described is that document: what cannot be JSON is a mistake of who built this.
func described(version string) file {
	body, err := json.Marshal(description(version))
	if err != nil {
		panic(err)
	}
	return file{"application/json", body}
}

// schemas are those of structs, by what they are called in the document.
type schemas map[string]any

// of is the schema of what encoding/json makes of a type, with lists where those are
// nil (api.WithLists).
func (s schemas) of(t reflect.Type) schema {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return schema{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[time.Duration]():
		return schema{"type": "integer", "description": "nanoseconds"}
	case t.Kind() == reflect.Pointer:
		return schema{"anyOf": []schema{s.of(t.Elem()), {"type": "null"}}}
	case t.Implements(reflect.TypeFor[json.Marshaler]()):
		return schema{} // as it likes
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return schema{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Bool:
		return schema{"type": "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return schema{"type": "integer"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return schema{"type": "integer", "minimum": 0}
	case reflect.Float32, reflect.Float64:
		return schema{"type": "number"}
	case reflect.String:
		return schema{"type": "string"}
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return schema{"type": "string", "contentEncoding": "base64"}
		}
		return schema{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return schema{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Struct:
		return s.object(t)
	}
	return schema{} // any
}

// object is a reference to the schema of a struct.
func (s schemas) object(t reflect.Type) schema {
	name := path.Base(t.PkgPath()) + "." + t.Name()
	if _, known := s[name]; !known {
		s[name] = schema{} // where the type is met again within itself
		properties, needed := schema{}, []string{}
		for _, field := range reflect.VisibleFields(t) {
			called, options, _ := strings.Cut(field.Tag.Get("json"), ",")
			within := field.Anonymous && called == "" && field.Type.Kind() == reflect.Struct // its fields are this one's
			if !field.IsExported() || called == "-" || within {
				continue
			}
			if called == "" {
				called = field.Name
			}
			one, leftOut := s.of(field.Type), strings.Contains(options, "omit")
			switch {
			case strings.Contains(options, "string"):
				one = schema{"type": "string"}
			case leftOut && field.Type.Kind() == reflect.Pointer: // it is there or is not
				one = s.of(field.Type.Elem())
			}
			if properties[called] = one; !leftOut {
				needed = append(needed, called)
			}
		}
		s[name] = schema{"type": "object", "properties": properties, "required": needed}
	}
	return schema{"$ref": "#/components/schemas/" + name}
}
