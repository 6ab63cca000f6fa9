package engine

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"time"
)

// Kind is what an event is about.
type Kind string

// The kinds of events.
const (
	// KindStream is about the event stream itself, not about anything in the engine.
	KindStream    Kind = "stream"
	KindNetwork   Kind = "network"
	KindContainer Kind = "container"
	// KindDaemon is about dockerd: only its reload, which may change its labels.
	KindDaemon Kind = "daemon"
)

// Action is what happened.
type Action string

// Actions of KindStream.
const (
	// ActionConnected: events flow from here on. Those before are lost, and the
	// engine may have restarted: list everything anew.
	ActionConnected Action = "connected"
	// ActionLost: the stream broke, or the engine cannot be reached when Watch
	// begins; Err says why. It is told once until the stream is back.
	ActionLost Action = "lost"
)

// Actions of networks and containers, and what each engine from 20.10 to 28.5 sends
// for them.
const (
	// ActionCreate: a network, or a container that does not run yet.
	ActionCreate Action = "create"
	// ActionConnect, ActionDisconnect: an endpoint of network ID was made or is
	// gone; attribute "container" is the container's id. 20.10 tells a disconnect
	// twice. Connecting a container that does not run makes no event.
	ActionConnect    Action = "connect"
	ActionDisconnect Action = "disconnect"
	// ActionDestroy: a network was removed, by `network rm` or by a prune, or a
	// container was. It follows the plugin's answer to DeleteNetwork within
	// milliseconds.
	ActionDestroy Action = "destroy"
	// ActionRemove: a swarm network left the cluster (scope swarm).
	ActionRemove Action = "remove"
	// ActionPrune: a prune of this kind ended, even one that removed nothing. It
	// names nothing: the networks it removed were told before, each by its
	// ActionDestroy, the last just before it. `system prune` sends one for
	// containers and then one for networks.
	ActionPrune Action = "prune"
	// ActionStart, ActionStop, ActionDie: a container runs, was stopped by a user, or
	// ended for any reason. Its ActionConnect comes before ActionStart, and an
	// inspect waits in between. ActionDie, ActionDisconnect and ActionStop of one end
	// come in no fixed order: 20.10 tells ActionDie before the plugin hears Leave,
	// Docker 28 after ReleaseAddress.
	ActionStart Action = "start"
	ActionStop  Action = "stop"
	ActionDie   Action = "die"
	// ActionKill: a container was sent a signal, attribute "signal" tells its number.
	// Stopping one begins with its stop signal, ahead of the grace period.
	ActionKill Action = "kill"
	// ActionHealthy, ActionUnhealthy: a container's health check changed its mind.
	ActionHealthy   Action = "health_status: healthy"
	ActionUnhealthy Action = "health_status: unhealthy"
	// ActionRename: attributes "name" and "oldName" tell a container's names, the
	// old one with Docker's leading slash.
	ActionRename Action = "rename"
	// ActionUpdate: a container's restart policy or a swarm network changed.
	ActionUpdate Action = "update"
	// ActionReload: dockerd read its configuration again.
	ActionReload Action = "reload"
)

// Event is one thing that happened in the engine (GET /events), or to the stream.
type Event struct {
	Kind   Kind
	Action Action
	// ID is of the network, container or engine; empty for a prune.
	ID string
	// Attributes are the engine's own: "name"; for networks "type" (the driver) and
	// "container"; for containers "image" and every label.
	Attributes map[string]string
	// Scope is "swarm" for what the cluster does, else "local".
	Scope Scope
	// Time is the engine's clock.
	Time time.Time
	// Err is why the stream was lost.
	Err error
}

// wanted are the actions Watch asks for. Naming them keeps out the exec events of
// health checks, which are most of what a busy engine sends.
var wanted = [...]Action{
	ActionCreate, ActionConnect, ActionDisconnect, ActionDestroy, ActionRemove, ActionPrune,
	ActionStart, ActionStop, ActionDie, ActionKill, ActionHealthy, ActionUnhealthy, ActionRename, ActionUpdate, ActionReload,
}

// eventAnswer is "EventMessage" of the Engine API.
type eventAnswer struct {
	Type   Kind
	Action Action
	Actor  struct {
		ID         string
		Attributes map[string]string
	}
	Scope    Scope `json:"scope"`
	TimeNano int64 `json:"timeNano"`
}

func (a eventAnswer) event() Event {
	return Event{
		Kind:       a.Type,
		Action:     a.Action,
		ID:         a.Actor.ID,
		Attributes: a.Actor.Attributes,
		Scope:      a.Scope,
		Time:       time.Unix(0, a.TimeNano),
	}
}

// readEvents hands on each JSON object of the stream, and returns what ended it.
func readEvents(body io.Reader, deliver func(Event)) error {
	decoder := json.NewDecoder(body)
	for {
		var answer eventAnswer
		if err := decoder.Decode(&answer); err != nil {
			return err
		}
		deliver(answer.event())
	}
}

func eventQuery(since time.Time) url.Values {
	filters := map[string]map[string]bool{
		"type":  {string(KindNetwork): true, string(KindContainer): true, string(KindDaemon): true},
		"event": {},
	}
	for _, action := range wanted {
		filters["event"][string(action)] = true
	}
	encoded, err := json.Marshal(filters)
	if err != nil {
		panic(err) // maps of strings always encode
	}
	return url.Values{
		"filters": {string(encoded)},
		"since":   {fmt.Sprintf("%d.%09d", since.Unix(), since.Nanosecond())},
	}
}
