// Command routes measures routes between hosts, and prints each figure as "BENCH
// name value":
//
//	go run ./tests/bench/routes [ROOM ...]
//
// The rooms, all without one given:
//
//	blocks  how many routes a host has to other hosts' containers (no root needed)
//	kernel  what ten thousand of them cost a host (in a namespace of its own)
package main

import (
	"fmt"
	"log"
	"maps"
	"os"
	"slices"
	"strings"
)

func main() {
	log.SetFlags(0)
	rooms := map[string]func() error{"blocks": blocks, "kernel": kernel}
	wanted := os.Args[1:]
	if len(wanted) == 0 {
		wanted = slices.Sorted(maps.Keys(rooms))
	}
	for _, name := range wanted {
		room, known := rooms[name]
		if !known {
			log.Fatalf("bench routes: %s is no room: those are %s", name, strings.Join(slices.Sorted(maps.Keys(rooms)), ", "))
		}
		if err := room(); err != nil {
			log.Fatalf("bench routes: %s: %v", name, err)
		}
	}
}

// figure prints one.
func figure(name string, value any) { fmt.Println("BENCH", name, value) }
