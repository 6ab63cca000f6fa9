package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// call answers one request; its body is JSON or empty.
type call func(body []byte) (any, error)

// entry is one line of the trace.
type entry struct {
	// At is when the request came, in RFC 3339 with microseconds.
	At string `json:"at"`
	// Method is the path of the request, as in "NetworkDriver.Join".
	Method string `json:"method"`
	// Request is the body as it came, null when it was empty.
	Request json.RawMessage `json:"request"`
	// Response is what was answered; it is absent when the connection was dropped.
	Response any `json:"response,omitempty"`
	// Status is the HTTP status; 0 when the connection was dropped.
	Status int `json:"status"`
	// Sandbox says, at Join, what is at the SandboxKey.
	Sandbox *sandbox `json:"sandbox,omitempty"`
}

// sandbox is what was found at a SandboxKey.
type sandbox struct {
	Exists    bool `json:"exists"`    // a file is there
	Namespace bool `json:"namespace"` // and a namespace is mounted on it
}

// recorder serves the plugin API and writes the trace.
type recorder struct {
	control string
	calls   map[string]call

	mu    sync.Mutex // one call at a time, so that the trace is in order
	trace *os.File
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := entry{At: time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"), Method: strings.TrimPrefix(req.URL.Path, "/")}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if len(body) > 0 {
		e.Request = body
	}
	if e.Method == "NetworkDriver.Join" {
		e.Sandbox = look(body)
	}
	if r.drops(e.Method) {
		r.write(e)
		panic(http.ErrAbortHandler) // closes the connection without an answer
	}
	e.Response, e.Status = r.answer(e.Method, body)
	r.write(e)
	w.Header().Set("Content-Type", "application/vnd.docker.plugins.v1.2+json")
	w.WriteHeader(e.Status)
	_ = json.NewEncoder(w).Encode(e.Response)
}

// answer gives the response: errors go in "Err" for the network driver and in "Error"
// for IPAM, with status 200, as libnetwork's own remote tests do.
func (r *recorder) answer(method string, body []byte) (any, int) {
	c, ok := r.calls[method]
	if !ok {
		return map[string]string{"Err": "no such method"}, http.StatusNotFound
	}
	message := r.fails(method)
	if message == "" {
		response, err := c(body)
		if err == nil {
			return response, http.StatusOK
		}
		message = err.Error()
	}
	if strings.HasPrefix(method, "IpamDriver.") {
		return map[string]string{"Error": message}, http.StatusOK
	}
	return map[string]string{"Err": message}, http.StatusOK
}

func (r *recorder) write(e entry) {
	line, err := json.Marshal(e)
	if err != nil {
		line, _ = json.Marshal(map[string]string{"method": e.Method, "broken": err.Error()})
	}
	_, _ = r.trace.Write(append(line, '\n'))
}

func look(body []byte) *sandbox {
	var join struct{ SandboxKey string }
	if json.Unmarshal(body, &join) != nil {
		return nil
	}
	var fs unix.Statfs_t
	err := unix.Statfs(join.SandboxKey, &fs)
	return &sandbox{Exists: err == nil, Namespace: err == nil && fs.Type == unix.NSFS_MAGIC}
}
