package driver

import "sync"

// askedFor remembers whom an address was asked for, from the request for it
// to the endpoint that has it: engines from 29 name the endpoint in the
// request, which is the only name a handler is ever told.
type askedFor struct {
	mu    sync.Mutex
	names map[string]string // by address
}

// note remembers a name; an empty one is none.
func (a *askedFor) note(address, name string) {
	if name == "" {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.names == nil {
		a.names = map[string]string{}
	}
	a.names[address] = name
}

// take forgets and returns the name of the first address that has one.
func (a *askedFor) take(addresses ...string) (name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, address := range addresses {
		if name == "" {
			name = a.names[address]
		}
		delete(a.names, address)
	}
	return name
}
