// Package sim runs whole clusters of memberships in one process: a LAN in
// memory (Fabric), a store in memory, and hosts that gossip over the one and
// read the other (World). Its tests run in virtual time (testing/synctest),
// where five minutes of fifty nodes take a second, and hold the membership
// to bars for how fast it forms, tells, notices and forgets, and above all to
// this one: whatever the gossip does, it writes nothing to the store.
//
// By default the tests run with 5 and 50 nodes:
//
//	go test ./tests/sim
//	go test ./tests/sim -timeout 60m -sizes 200,1000 -seeds 3
//
// They print figures as "BENCH name value". Virtual time and the race
// detector do not go together before Go 1.27 (golang.org/issue/76691), so
// that every file with a test in virtual time is tagged !race.
package sim
