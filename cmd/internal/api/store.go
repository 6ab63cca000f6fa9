package api

import (
	"context"
	"io"
	"net/http"
	"time"
)

// Routes of the commands about the cluster's own store.
const (
	StoreRoute        = "/v1/store"            // GET: StoreView
	StoreInitRoute    = "/v1/store/init"       // POST StoreInit: JoinLine
	StoreJoinRoute    = "/v1/store/join"       // POST StoreJoin
	StoreLeaveRoute   = "/v1/store/leave"      // POST: StoreLeft
	StoreSizeRoute    = "/v1/store/size"       // POST StoreSize
	StoreRecoverRoute = "/v1/store/recover"    // POST: StoreBegun
	BackupRoute       = "/v1/store/copy"       // POST: BackupPart, several
	RestoreRoute      = "/v1/store/restore"    // POST RestoreFile: Restored
	TokenRoute        = "/v1/token"            // GET: JoinLine
	TokenRotateRoute  = "/v1/token/rotate"     // POST: JoinLine
	CARotateRoute     = "/v1/authority/rotate" // POST: AuthorityRotation
	CAStateRoute      = "/v1/authority"        // GET: AuthorityRotation
)

// StoreInit begins a cluster.
type StoreInit struct {
	Listen string `json:"listen,omitempty"` // HOST:PORT of this host; "" for the address others reach it by
}

// JoinLine is what another host joins with.
type JoinLine struct {
	Address string `json:"address"` // host:port
	Token   string `json:"token"`
}

// StoreJoin has this host join a cluster.
type StoreJoin struct {
	Address string `json:"address"` // host or host:port of a member
	Token   string `json:"token"`
	Import  bool   `json:"import,omitempty"`  // bring what this host has of its own along
	Discard bool   `json:"discard,omitempty"` // take it down
}

// StoreLeft says what a host that left is told and does not follow.
type StoreLeft struct {
	Unfollowed []string `json:"unfollowed"` // options, until they say something else
}

// StoreSize says how many voters are wanted.
type StoreSize struct {
	Voters int `json:"voters"`
}

// StoreView is the cluster's own store as this host sees it.
type StoreView struct {
	Standing string        `json:"standing"` // solo, joining, cluster or external
	Want     int           `json:"want"`     // voters somebody asked for; 0: by the number of hosts
	Life     int64         `json:"life"`     // how often it was made anew, by store recover or restore
	From     int64         `json:"from"`     // revision of the copy that the life began with
	Members  []StoreMember `json:"members"`
	Hosts    []StoreHost   `json:"hosts"`    // that run no member, and why
	Warnings []string      `json:"warnings"` // what is wrong with it, each with its cure
	// AsOf is set while the store does not answer this host: the members are then
	// those it saw last, and why the other hosts are none is not known.
	AsOf time.Time `json:"asOf,omitzero"`
}

// StoreBegun is a life of the store that this host is about to begin.
type StoreBegun struct {
	Life  int64     `json:"life"`
	Known int64     `json:"known"` // highest revision this host has seen; 0: none
	Heard time.Time `json:"heard"` // the store last answered this host; zero: it answers
}

// BackupPart is a piece of a backup's file, or, behind the last one, what was made.
// The command writes the file: the agent may write to its own folders only.
type BackupPart struct {
	Data []byte  `json:"data,omitempty"`
	Made *Backup `json:"made,omitempty"` // without a path
}

// TakeBackup has the agent take a backup and writes its file to w.
func (s *Client) TakeBackup(ctx context.Context, w io.Writer) (Backup, error) {
	var made *Backup
	err := follow(ctx, s, http.MethodPost, BackupRoute, func(part BackupPart) error {
		if made = part.Made; made != nil {
			return io.EOF // no more is wanted
		}
		_, err := w.Write(part.Data)
		return err
	})
	if made != nil {
		return *made, nil
	}
	if err == nil {
		err = ctx.Err()
	}
	return Backup{}, err
}

// Backup is a copy of the store in a file.
type Backup struct {
	Path     string    `json:"path"`
	Cluster  string    `json:"cluster"`
	Node     string    `json:"node"` // that wrote it
	Gvlan    string    `json:"gvlan"`
	Revision int64     `json:"revision"`
	Time     time.Time `json:"time"`
	Size     int64     `json:"size"` // bytes
}

// RestoreFile is the backup to restore.
type RestoreFile struct {
	Path string `json:"path"`
	Look bool   `json:"look,omitempty"` // only say what it would do
}

// Restored is what a restore does.
type Restored struct {
	Backup Backup     `json:"backup"`
	Begun  StoreBegun `json:"begun"` // Life is 0 with Look
	Lost   int64      `json:"lost"`  // changes since the backup that this host has seen; 0: none, or of another cluster
	Same   bool       `json:"same"`  // the backup is of the cluster that this host knows
	Keeps  bool       `json:"keeps"` // this host keeps the authority: the others follow
}

// StoreMember is one member.
type StoreMember struct {
	Node    string   `json:"node"`
	Host    string   `json:"host"`
	Address string   `json:"address"`       // for clients
	Role    string   `json:"role"`          // leader, voter or learner
	Why     string   `json:"why,omitempty"` // it does not answer
	Lag     uint64   `json:"lag"`           // entries of the log it has not applied yet
	Size    int64    `json:"size"`          // bytes of its database
	InUse   int64    `json:"inUse"`         // bytes of that which hold something
	Alarms  []string `json:"alarms,omitempty"`
}

// StoreHost is a host without a member.
type StoreHost struct {
	Node string `json:"node"`
	Host string `json:"host"`
	Why  string `json:"why"`
}

// AuthorityRotation is how far a change of the authority is.
type AuthorityRotation struct {
	Stage   string   `json:"stage"`   // settled: none is under way
	Waiting []string `json:"waiting"` // hosts
}

// RecoverRoute is where `gvlan recover` asks.
const RecoverRoute = "/v1/recover"

// Recovered is the answer of `gvlan recover`.
type Recovered struct {
	Cluster   string   `json:"cluster"`
	Nodes     []string `json:"nodes"`     // that have written what they hold again
	Waiting   []string `json:"waiting"`   // that have not: the store is not trusted yet
	Absent    []string `json:"absent"`    // of Waiting, whose agents are not connected
	Conflicts []string `json:"conflicts"` // addresses of this node that stay with somebody else
}
