package kernel_test

import "testing"

func documents() []document {
	return []document{notes(), blog(), ipvlanPage(), global(), vlanPage()}
}

// TestEveryExampleIsARow: one row for each `docker network create` and each
// `docker run` of the documents.
func TestEveryExampleIsARow(t *testing.T) {
	for _, d := range documents() {
		t.Run(d.title, func(t *testing.T) {
			counted := map[string]int{}
			for _, s := range d.scenes {
				for _, r := range s.rows {
					if !r.also {
						counted[r.verb]++
					}
				}
			}
			if counted["create"] != d.creates || counted["run"] != d.runs {
				t.Errorf("%d creates and %d runs are rows, the document has %d and %d", counted["create"], counted["run"], d.creates, d.runs)
			}
		})
	}
}
