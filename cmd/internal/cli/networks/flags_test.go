package networks

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// The agent knows its own name, so the drivers are passed on as they were
// given.
func TestDriverFlags(t *testing.T) {
	var f networkFlags
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	f.register(flags)
	if err := flags.Parse([]string{"-d", "gvlan", "--ipam-driver", "other"}); err != nil {
		t.Fatal(err)
	}
	request, err := f.request("lan")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"gvlan", "other"}, []string{request.Driver, request.IPAM.Driver}); diff != "" {
		t.Errorf("drivers (-want +got):\n%s", diff)
	}
}
