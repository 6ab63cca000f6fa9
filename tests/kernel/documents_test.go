package kernel_test

import (
	"slices"
	"testing"
)

func documents() []document {
	return []document{notes(), blog(), ipvlanPage(), global(), vlanPage()}
}

// TestEveryExampleIsARow: one row for each `docker network create` and each
// `docker run` of the documents. What is played with another document that prints it
// alike is a row there.
func TestEveryExampleIsARow(t *testing.T) {
	for _, d := range documents() {
		t.Run(d.title, func(t *testing.T) {
			counted := map[string]int{}
			for _, s := range d.scenes {
				for _, r := range s.rows {
					if !r.also {
						counted[r.verb]++
					}
					if s.with != "" && !played(s.with, r) {
						t.Errorf("%s %s is not played with %q", r.verb, r.text, s.with)
					}
				}
			}
			if counted["create"] != d.creates || counted["run"] != d.runs {
				t.Errorf("%d creates and %d runs are rows, the document has %d and %d", counted["create"], counted["run"], d.creates, d.runs)
			}
		})
	}
}

// played is whether a document has a row of its own that is typed alike.
func played(title string, as row) bool {
	for _, d := range documents() {
		for _, s := range d.scenes {
			here := d.title == title && (s.with == "" || s.with == title)
			if here && slices.ContainsFunc(s.rows, func(r row) bool { return r.verb == as.verb && r.text == as.text && r.on == as.on }) {
				return true
			}
		}
	}
	return false
}
