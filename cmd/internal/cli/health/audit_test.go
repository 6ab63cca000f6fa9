package health_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/clitest"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/cli/health"
)

var audited = api.Audit{
	Revision: 4711,
	Findings: []api.AuditFinding{
		{
			Kind: "lease", What: "address 192.168.1.20 (segment default)", Key: "/leases/default/4/c0a80114", Address: "192.168.1.20", Segment: "default", Node: "id9", Host: "id9",
			Why: "no endpoint has it, and it is held by node id9, which the cluster does not know", Cure: "it rests for ten minutes, and is free when nobody on the LAN answers for it", Repairable: true,
		},
		{Kind: "unreadable", What: "/leases/default/4/c0a80115", Key: "/leases/default/4/c0a80115", Why: "it cannot be read: no record", Cure: "write it as it should be"},
		{Kind: "link", What: "vlan link eth0.65 on eth0", Link: "eth0.65", Node: "id1", Host: "h1", Why: "nobody has it", Cure: "it is removed", Repairable: true},
	},
	Unasked: []string{"some links of this host: the kernel is busy"},
}

const auditedText = `3 found at revision 4711 of the store; gvlan audit --repair takes 2 of them away

LEASE: address 192.168.1.20 (segment default)
   why    no endpoint has it, and it is held by node id9, which the cluster does not know
   host   id9
   cure   gvlan audit --repair: it rests for ten minutes, and is free when nobody on the LAN answers for it

UNREADABLE: /leases/default/4/c0a80115
   why    it cannot be read: no record
   cure   write it as it should be

LINK: vlan link eth0.65 on eth0
   why    nobody has it
   host   h1
   cure   gvlan audit --repair: it is removed

not looked at: some links of this host: the kernel is busy
`

const repairedText = `3 found at revision 4711 of the store, 1 repaired

LEASE: address 192.168.1.20 (segment default)
   why    no endpoint has it, and it is held by node id9, which the cluster does not know
   host   id9
   done   repaired: it rests for ten minutes, and is free when nobody on the LAN answers for it

UNREADABLE: /leases/default/4/c0a80115
   why    it cannot be read: no record
   cure   write it as it should be

LINK: vlan link eth0.65 on eth0
   why    nobody has it
   host   h1
   done   nothing: it is not any more as it was audited

not looked at: some links of this host: the kernel is busy
`

func TestAudit(t *testing.T) {
	repaired := audited
	repaired.Findings = append([]api.AuditFinding(nil), audited.Findings...)
	repaired.Findings[0].Outcome, repaired.Findings[2].Outcome = api.OutcomeRepaired, api.OutcomeChanged
	answers := clitest.Answers{"GET /v1/audit": audited, "POST /v1/audit": repaired}
	well := clitest.Answers{"GET /v1/audit": api.Audit{Revision: 4711, Findings: []api.AuditFinding{}, Unasked: []string{}}}
	for name, test := range map[string]struct {
		answers clitest.Answers
		args    []string
		want    clitest.Typed
	}{
		"found":    {answers, nil, clitest.Typed{Out: auditedText, Status: frame.Unhealthy}},
		"repaired": {answers, []string{"--repair"}, clitest.Typed{Out: repairedText, Status: frame.Unhealthy}},
		"nothing":  {well, nil, clitest.Typed{Out: "nothing is wrong at revision 4711 of the store\n"}},
		"JSON of what was found": {clitest.Answers{"GET /v1/audit": api.Audit{Revision: 1, Findings: audited.Findings[2:], Unasked: []string{}}}, []string{"--json"}, clitest.Typed{Out: `{
  "revision": 1,
  "findings": [
    {
      "kind": "link",
      "what": "vlan link eth0.65 on eth0",
      "link": "eth0.65",
      "node": "id1",
      "host": "h1",
      "why": "nobody has it",
      "cure": "it is removed",
      "repairable": true
    }
  ],
  "unasked": []
}
`, Status: frame.Unhealthy}},
		"JSON": {well, []string{"--json"}, clitest.Typed{Out: `{
  "revision": 4711,
  "findings": [],
  "unasked": []
}
`}},
		"etcd is away": {clitest.Answers{"GET /v1/audit": errors.New("etcd does not answer")}, nil, clitest.Typed{Err: "gvlan: etcd does not answer\n", Status: frame.Failed}},
		"an argument":  {well, []string{"lan"}, clitest.Typed{Err: "gvlan: gvlan audit takes no argument, and got lan\n", Status: frame.Misused}},
	} {
		t.Run(name, func(t *testing.T) {
			got := clitest.Type(t, health.NewAudit(), clitest.Agent(t, test.answers), test.args...)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
