package web

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
)

// read serves the routes that are described.
func (s *server) read(paths map[string]http.HandlerFunc) {
	paths[openAPIRoute] = described(s.Version).send
	for _, one := range routes() {
		paths[one.Path] = s.answer
		if one.Lines {
			paths[one.Path] = s.lines
		}
	}
}

// answer sends what the agent answers, once it is whole.
func (s *server) answer(w http.ResponseWriter, r *http.Request) {
	end, free := s.crowd.room()
	if !free {
		tooMany(w)
		return
	}
	defer end()
	answer, err := s.answered(r)
	if err != nil {
		tooMany(w)
		return
	}
	if answer.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", laterSeconds)
	}
	for name, values := range answer.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(answer.body.Len()))
	w.WriteHeader(cmp.Or(answer.status, http.StatusOK))
	_, _ = w.Write(answer.body.Bytes()) // whoever asked may be gone
}

func (s *server) answered(r *http.Request) (*held, error) {
	ctx, cancel := context.WithTimeout(r.Context(), answering)
	defer cancel()
	end, err := s.crowd.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	answer := &held{header: http.Header{}}
	s.Agent.ServeHTTP(answer, r.WithContext(ctx))
	return answer, nil
}

// lines sends an answer that goes on, a line of JSON for each thing.
func (s *server) lines(w http.ResponseWriter, r *http.Request) {
	end, free := s.crowd.stay()
	if !free {
		tooMany(w)
		return
	}
	defer end()
	w.Header().Set("Content-Type", linesType)
	if r.Method != http.MethodHead {
		s.Agent.ServeHTTP(w, r)
	}
}
