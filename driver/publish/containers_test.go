package publish

import "testing"

func TestStopSignal(t *testing.T) {
	for _, test := range []struct {
		spelled, sent string
		want          bool
	}{
		{"", "15", true}, {"", "9", true}, {"", "1", false}, {"", "2", false},
		{"SIGINT", "2", true}, {"INT", "2", true}, {"int", "2", true}, {"2", "2", true}, {"SIGINT", "15", false}, {"SIGINT", "9", true},
		{"SIGRTMIN+3", "37", true}, {"RTMIN", "34", true}, {"SIGRTMIN+3", "15", false},
		{"", "", true}, // an engine that does not say
	} {
		if got := stops(test.spelled, test.sent); got != test.want {
			t.Errorf("stop signal %q, sent %q: stops is %v", test.spelled, test.sent, got)
		}
	}
}
