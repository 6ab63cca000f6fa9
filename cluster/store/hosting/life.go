package hosting

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/authority"
	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/join"
	"gvlan/cluster/store/members"
)

const (
	// lifePatience is how long doors are waited for that are asked which life the
	// store is in: a host may start while the others are off.
	lifePatience = 3 * time.Second
	// lifeLook is how often they are asked.
	lifeLook = 10 * time.Second
)

// errSuperseded ends a member whose data is of an older life than the store's.
var errSuperseded = errors.New("the store has begun another life without this member")

// lives is what a host does about the life of the store: a member of an older one
// stands down, and a member of a newer one tells those of the older.
type lives struct {
	config   Config
	dir      string // of the member's data
	identity *authority.Identity
	book     *bookOf
	doors    *doors
	picture  *picture
	log      *slog.Logger

	hinted chan struct{} // has one element when hint was told anew
	mu     sync.Mutex
	hint   string // door of a host that says it is in a newer life
}

// standing is what this host's door says: of its own data, since the store may not
// answer. What the asker says is noted, to be asked for at the door it names.
func (l *lives) standing(asked store.Life, door string) join.Standing {
	book := l.book.read()
	if door != "" && asked.Beats(book.Life) {
		l.mu.Lock()
		l.hint = door
		l.mu.Unlock()
		select {
		case l.hinted <- struct{}{}:
		default:
		}
	}
	return join.Standing{Life: book.Life, Members: book.Members}
}

// others are the doors of every other member this host knows: of those now, of
// those of the life before, and who spoke of a newer one.
func (l *lives) others() []string {
	book := l.book.read()
	all := l.doorsOf(slices.Concat(book.Members, book.Former))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hint != "" && !slices.Contains(all, l.hint) {
		all = append(all, l.hint)
	}
	return all
}

// spokenOf reports whether somebody said that there is a newer life.
func (l *lives) spokenOf() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hint != ""
}

func (l *lives) doorsOf(places []join.Place) (all []string) {
	for _, p := range places {
		if p.Node != l.config.Node && p.Door != "" && !slices.Contains(all, p.Door) {
			all = append(all, p.Door)
		}
	}
	return all
}

// ownDoor is where this host's member is asked.
func (l *lives) ownDoor() string {
	at, err := members.AddressesOf(l.book.read().Base)
	if err != nil {
		return ""
	}
	return at.Door
}

// answer is what one door says.
type answer struct {
	door string
	join.Standing
	err error
}

// ask asks doors all at once, and waits a bounded time.
func ask(ctx context.Context, doors []string, how func(ctx context.Context, door string) (join.Standing, error)) []answer {
	ctx, cancel := context.WithTimeout(ctx, lifePatience)
	defer cancel()
	answers := make([]answer, len(doors))
	var wait sync.WaitGroup
	for i, door := range doors {
		wait.Go(func() {
			said, err := how(ctx, door)
			answers[i] = answer{door, said, err}
		})
	}
	wait.Wait()
	return answers
}

// askLife asks which life the store is in, and says which one this host is in.
func (l *lives) askLife(ctx context.Context, door string) (join.Standing, error) {
	return l.doors.asker.Life(ctx, door, l.book.read().Life, l.ownDoor())
}

// askStore asks what only a member with a quorum can say.
func (l *lives) askStore(ctx context.Context, door string) (join.Standing, error) {
	places, err := l.doors.asker.Members(ctx, door)
	return join.Standing{Members: places}, err
}

// supersededBy is the life of the store that the data here is not of any more, as
// the store itself says, or a member at one of the doors; nil: none is known.
func (l *lives) supersededBy(ctx context.Context, doors []string) *join.Standing {
	own, now := l.book.read().Life, l.picture.now()
	if now.life.Beats(own) && len(clients(now.places())) > 0 {
		return &join.Standing{Life: now.life, Members: now.places()}
	}
	var best *join.Standing
	for _, said := range ask(ctx, doors, l.askLife) {
		if said.err != nil || !said.Life.Beats(own) || len(clients(said.Members)) == 0 {
			continue
		}
		if best == nil || said.Life.Beats(best.Life) {
			best = &said.Standing
		}
	}
	return best
}

// watch looks, while the member runs, whether it is of the store's life still. It
// returns errSuperseded when it is not, and nil when ctx ended. While the store is
// silent every door is asked; else those of the life before, which so hear that it
// is over.
func (l *lives) watch(ctx context.Context) error {
	// Soon at first: the others ask back at a door that may be about to open.
	for look := time.Second; ; look = min(2*look, lifeLook) {
		book := l.book.read()
		doors := l.doorsOf(book.Former)
		if book.Heard != 0 || l.spokenOf() {
			doors = l.others()
		}
		if l.supersededBy(ctx, doors) != nil {
			return errSuperseded
		}
		if !l.await(ctx, look) {
			return nil
		}
	}
}

// await waits for that long at most, or until the store or an asker speaks of a
// newer life. It returns false when ctx ended.
func (l *lives) await(ctx context.Context, look time.Duration) bool {
	pause := time.NewTimer(look)
	defer pause.Stop()
	for {
		now := l.picture.now()
		if now.life.Beats(l.book.read().Life) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-pause.C:
			return true
		case <-l.hinted:
			return true
		case <-now.changed:
		}
	}
}

// note keeps the book as the store says: a member of the life before that is one
// of this life has heard of it.
func (l *lives) note(now view) {
	book := l.book.read()
	if len(book.Former) == 0 || !now.life.Is(book.Life) {
		return
	}
	still := slices.DeleteFunc(slices.Clone(book.Former), func(p join.Place) bool {
		_, member := now.member(p.Node)
		return member
	})
	if len(still) == len(book.Former) {
		return
	}
	if err := l.book.rewrite(func(b *Book) { b.Former = still }); err != nil {
		l.log.Error("which members of the life before are yet to hear of this one is not written down", "err", err)
	}
}

// heardBefore writes down, at a start, when the store was last heard: when its
// copy here was last written, unless an outage began before that.
func (l *lives) heardBefore() {
	if l.book.read().Heard != 0 {
		return
	}
	at := l.config.Now()
	if info, err := os.Stat(filepath.Join(l.dir, "member", "snap", "db")); err == nil {
		at = info.ModTime()
	}
	if err := l.book.rewrite(func(b *Book) { b.Heard = at.Unix() }); err != nil { // as on a full disk
		l.log.Error("since when the store is silent is not written down", "err", err)
	}
}

// toLife brings the data here into the life that it is to be in, before a member
// starts from it: another is begun, or it is set aside for one that others began.
// It returns the id of this host's place that is over, which removed is unless
// there is another.
func (s *seat) toLife(ctx context.Context, client *etcd.Client, removed string) (string, error) {
	if anew := s.book.read().Anew; anew != nil && !s.begunAnew(ctx, *anew) || !s.hasData() {
		return removed, nil
	}
	by := s.lives.supersededBy(ctx, s.lives.others())
	if by == nil || ctx.Err() != nil {
		return removed, nil
	}
	return s.lives.formerPlace(by), s.standDown(by, client)
}

// standDown sets the member's data aside and makes this host one without a member,
// of the life that it was told. The addresses come first, since without data a
// host has no others; the data is judged again until it is away.
func (s *seat) standDown(by *join.Standing, client *etcd.Client) error {
	s.log.Warn("the store has begun another life without the member of this host: its data is set aside, and this host follows",
		"life", by.Life.Number, "begun_by", by.Life.Node, "own_life", s.book.read().Life.Number, "data", s.dir+asideSuffix)
	s.lives.doors.take(by.Members, client)
	err := os.RemoveAll(s.dir + asideSuffix)
	if err == nil {
		err = os.Rename(s.dir, s.dir+asideSuffix)
	}
	if err == nil {
		err = errors.Join(s.identity.DropCustody(), s.identity.DropMember())
	}
	if err != nil {
		return fmt.Errorf("set the data of a member aside that is of an older life of the store: %w", err)
	}
	return nil
}

// formerPlace is the id of this host's place in the life that is over, as far as
// the picture shows that one still: nobody asks for it any more.
func (l *lives) formerPlace(by *join.Standing) string {
	now := l.picture.now()
	if now.life.Is(by.Life) {
		return ""
	}
	m, _ := now.member(l.config.Node)
	return m.ID
}
