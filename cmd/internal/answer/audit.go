package answer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"gvlan/cluster/events"
	"gvlan/cluster/store/session"
	"gvlan/cmd/internal/api"
	"gvlan/driver"
	"gvlan/driver/command"
	"gvlan/ipam/audit"
)

// Audit answers `gvlan audit`.
type Audit struct {
	Roster  Roster
	Session *session.Session
	Driver  *driver.Driver
	Events  events.Teller
	Leases  Leases // what is known of addresses, and how the LAN is asked
	// Observe hears of each audit: how much of what it found, by kind, is left, or
	// why it was none.
	Observe func(left map[string]int, failed error)
	Log     *slog.Logger
}

// kindLink is the kind of findings about this host's links.
const kindLink = "link"

var errRecovering = errors.New("the store lost its past, and is judged once the nodes have written what they hold: see gvlan recover")

// Register adds the routes of `gvlan audit` to the server.
func (a Audit) Register(server *api.Server) {
	for method, repair := range map[string]bool{http.MethodGet: false, http.MethodPost: true} {
		server.Handle(method+" "+api.AuditRoute, func(r *http.Request) (any, error) {
			return a.observed(r.Context(), repair, r.URL.Query().Has("probe"))
		})
	}
}

// observed is audit, and tells of what is left.
func (a Audit) observed(ctx context.Context, repair, probe bool) (api.Audit, error) {
	report, err := a.audit(ctx, repair, probe)
	left := map[string]int{}
	for _, f := range report.Findings {
		if f.Outcome != api.OutcomeRepaired {
			left[f.Kind]++
		}
	}
	a.Observe(left, err)
	return report, err
}

// audit looks at the store and at this host, and at its LANs to probe, and takes
// away what can be.
func (a Audit) audit(ctx context.Context, repair, probe bool) (api.Audit, error) {
	report := api.Audit{Findings: []api.AuditFinding{}, Unasked: []string{}}
	auditor := audit.Auditor{KV: a.Session, Grant: a.Session.Grant, Now: time.Now}
	if witness, err := a.Driver.Witness(ctx); err != nil {
		report.Unasked = append(report.Unasked, fmt.Sprintf("whether this host forgot addresses of its own: %v", err))
	} else {
		auditor.Own = witness
	}
	found, err := auditor.Audit(ctx, nil)
	if err != nil {
		return report, err
	}
	if found.Recovering {
		return report, errRecovering
	}
	report.Revision = int64(found.Revision)
	called := api.CallAgents(a.Roster.Names())
	for _, f := range found.Findings {
		view := view(f, called)
		if repair && f.Repairable {
			outcome, err := auditor.Repair(ctx, f)
			a.note(&view, outcome == audit.Repaired, err)
		}
		report.Findings = append(report.Findings, view)
	}
	links, err := a.links(ctx, repair, called)
	if err != nil {
		report.Unasked = append(report.Unasked, fmt.Sprintf("some links of this host: %v", err))
	}
	report.Findings = append(report.Findings, links...)
	if probe {
		if err := a.probe(ctx, &report, called); err != nil {
			return report, err
		}
	}
	return report, nil
}

// probe asks the LANs of this host.
func (a Audit) probe(ctx context.Context, report *api.Audit, called func(node string) string) error {
	known, err := a.Leases.survey(ctx)
	if err != nil {
		return err
	}
	lan := audit.LAN{KV: a.Session, Survey: known, Parents: map[string]string{}, Answers: a.Leases.Answers}
	for _, n := range a.Roster.Directory.Known().Nodes[a.Roster.Self].Description.Networks {
		if n.UUID != "" {
			lan.Parents[n.UUID] = n.Parent
		}
	}
	found, unasked, err := lan.Ask(ctx)
	for _, f := range found {
		report.Findings = append(report.Findings, view(f, called))
	}
	report.Unasked = append(report.Unasked, unasked...)
	return err
}

// view is a finding of the store's, for people.
func view(f audit.Finding, called func(node string) string) api.AuditFinding {
	v := api.AuditFinding{
		Kind: string(f.Kind), What: "record " + f.Key, Key: f.Key, Segment: f.Segment, MAC: f.MAC, Node: f.Node,
		Why: f.Why, Cure: f.Cure, Repairable: f.Repairable,
	}
	if f.Node != "" {
		v.Host = called(f.Node)
	}
	if f.Address.IsValid() {
		v.Address = f.Address.String()
		v.What = fmt.Sprintf("address %s (segment %s)", f.Address, f.Segment)
	}
	return v
}

// note enters what became of a repair, and tells of it.
func (a Audit) note(v *api.AuditFinding, repaired bool, err error) {
	switch {
	case err != nil:
		v.Outcome, v.Failed = api.OutcomeFailed, err.Error()
	case !repaired:
		v.Outcome = api.OutcomeChanged
	default:
		v.Outcome = api.OutcomeRepaired
		a.Log.Warn("an audit repaired what should not be", "kind", v.Kind, "what", v.What, "why", v.Why, "cure", v.Cure)
		a.Events.Tell(events.Event{Kind: events.Repaired, Text: fmt.Sprintf("%s %s: %s", v.Kind, v.What, v.Why)})
	}
}

// links are those of this host that nobody has.
func (a Audit) links(ctx context.Context, repair bool, called func(node string) string) (all []api.AuditFinding, failed error) {
	strays, failed := a.Driver.StrayLinks(ctx)
	for _, l := range strays {
		v := linkView(l, a.Roster.Self, called)
		if repair {
			removed, err := a.Driver.RemoveStrayLink(ctx, l.Name)
			a.note(&v, removed, err)
		}
		all = append(all, v)
	}
	return all, failed
}

func linkView(l command.StrayLink, self string, called func(node string) string) api.AuditFinding {
	v := api.AuditFinding{
		Kind: kindLink, What: fmt.Sprintf("%s link %s", l.Kind, l.Name), Link: l.Name, Node: self, Host: called(self),
		Why: "gvlan made it, and no container or network of this host has it", Cure: "it is removed", Repairable: true,
	}
	if l.Parent != "" {
		v.What += " on " + l.Parent
	}
	return v
}
