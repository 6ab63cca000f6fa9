// Package pool says what the words of a pool mean: a subnet and its ranges,
// `--ipam-opt`, and the id that Docker hands back with every request. It reads
// each once, refuses what cannot be in a sentence that names the option, and
// keeps no state.
package pool
