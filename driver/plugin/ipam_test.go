package plugin

import "testing"

func TestAskedFor(t *testing.T) {
	var a askedFor
	a.note("10.0.0.2", "web")
	a.note("10.0.0.3", "")
	if got := a.take("10.0.0.3"); got != "" {
		t.Errorf("an address asked for by nobody is %q's", got)
	}
	if got := a.take("10.0.0.2", "fd00::2"); got != "web" {
		t.Errorf("the address is %q's, want web's", got)
	}
	if got := a.take("10.0.0.2"); got != "" {
		t.Errorf("a name was told twice: %q", got)
	}
}
