package history

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// place is an address in its segment.
type place struct {
	segment string
	addr    netip.Addr
}

// Overlaps finds addresses that two endpoints had at once.
func Overlaps(lives []Life) (found []string) {
	at := map[place][]Life{}
	for _, l := range lives {
		if _, _, held := l.Held(); held {
			p := place{l.Segment, l.Address}
			at[p] = append(at[p], l)
		}
	}
	for p, all := range at {
		slices.SortFunc(all, func(a, b Life) int { return cmp.Compare(a.Request.Ended, b.Request.Ended) })
		var last Life
		var until time.Duration
		for i, l := range all {
			from, to, _ := l.Held()
			if i > 0 && from < until {
				found = append(found, fmt.Sprintf("address %s of segment %s: %s had it from %s to %s, and %s from %s to %s",
					p.addr, p.segment, last, last.Request.Ended, ending(until), l, from, ending(to)))
			}
			if to > until {
				last, until = l, to
			}
		}
	}
	slices.Sort(found)
	return found
}

func ending(t time.Duration) string {
	if t == forever {
		return "the end"
	}
	return t.String()
}

// String names a life in a sentence.
func (l Life) String() string {
	return fmt.Sprintf("container %d of %s (endpoint %s)", l.Number, l.Host, l.Endpoint[:min(12, len(l.Endpoint))])
}

// The register of an address. Its value is the number of the life that has it;
// 0 is free.
type step struct {
	take, keep, drop int
}

func register() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return 0 },
		Step: func(state, input, _ any) (bool, any) {
			has, do := state.(int), input.(step)
			switch {
			case do.take != 0:
				return has == 0, do.take
			case do.keep != 0:
				return has == do.keep, has
			case has == do.drop:
				return true, 0
			}
			return true, has // it was freed for it before
		},
		DescribeOperation: func(input, _ any) string {
			do := input.(step)
			switch {
			case do.take != 0:
				return fmt.Sprintf("give to container %d", do.take)
			case do.keep != 0:
				return fmt.Sprintf("bind to container %d", do.keep)
			}
			return fmt.Sprintf("take back from container %d", do.drop)
		},
		DescribeState: func(state any) string { return fmt.Sprintf("container %d", state.(int)) },
	}
}

// Registers finds addresses whose history is not that of one register.
func Registers(lives []Life) (found []string) {
	at := map[place][]porcupine.Operation{}
	for _, l := range lives {
		if l.Request.Outcome != OK {
			continue
		}
		p := place{l.Segment, l.Address}
		client := l.Number
		add := func(in step, from, to time.Duration) {
			at[p] = append(at[p], porcupine.Operation{ClientId: client, Input: in, Call: int64(from), Output: 0, Return: int64(to)})
		}
		add(step{take: l.Number}, l.Request.Began, l.Request.Ended)
		ends, ended := forever, forever
		switch {
		case l.Bind.Outcome != OK:
			// What nobody confirmed its node takes back by itself, when it likes.
			ends = l.Request.Began
		default:
			add(step{keep: l.Number}, l.Bind.Began, l.Bind.Ended)
			if l.End.Outcome != None {
				ends = l.End.Began
			}
			if l.Lost > 0 {
				ends = min(ends, l.Lost)
			}
		}
		add(step{drop: l.Number}, ends, ended)
	}
	model := register()
	for p, ops := range at {
		if res, _ := porcupine.CheckOperationsVerbose(model, ops, 20*time.Second); res == porcupine.Illegal {
			found = append(found, fmt.Sprintf("address %s of segment %s: its %d operations are not those of one register", p.addr, p.segment, len(ops)))
		}
	}
	slices.Sort(found)
	return found
}
