package networks

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// The agent knows its own name, so the drivers are passed on as they were
// given.
func TestDriverFlags(t *testing.T) {
	var f networkFlags
	c := &cobra.Command{}
	f.register(c)
	if err := c.Flags().Parse([]string{"-d", "gvlan", "--ipam-driver", "other"}); err != nil {
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
