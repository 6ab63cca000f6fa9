package main

import (
	"bufio"
	"bytes"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// A round is what one server did in one run of dnsperf.
type round struct {
	qps    float64
	perCPU float64 // microseconds of the server's CPU per query
	p99    float64 // milliseconds, at half of what bare can do
}

// queries loads every server in turns and reports each against bare.
func queries(rounds, seconds int) error {
	if _, err := exec.LookPath("dnsperf"); err != nil {
		return fmt.Errorf("measure queries: %w (it is Debian's package dnsperf)", err)
	}
	dir, err := os.MkdirTemp("", "gvlan-bench-dns-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	input := filepath.Join(dir, "queries")
	if err := os.WriteFile(input, questions(), 0o600); err != nil {
		return err
	}
	kinds := []string{"bare", "direct"}
	if _, err := exec.LookPath("coredns"); err == nil {
		kinds = append(kinds, "coredns")
	} else {
		log.Print("coredns is not on PATH and is not measured")
	}
	measured := make(map[string][]round)
	for range rounds {
		half := 0.0
		for _, kind := range kinds {
			r, err := measure(kind, dir, input, seconds, half)
			if err != nil {
				return fmt.Errorf("load %s: %w", kind, err)
			}
			if kind == "bare" {
				half = r.qps / 2
			}
			measured[kind] = append(measured[kind], r)
		}
	}
	publish(kinds, measured)
	return nil
}

func publish(kinds []string, measured map[string][]round) {
	labels := map[string]string{"direct": "dns_direct", "coredns": "coredns"}
	column := func(kind string, of func(round) float64) float64 {
		var values []float64
		for _, r := range measured[kind] {
			values = append(values, of(r))
		}
		return median(values)
	}
	ratio := func(kind string, of func(round) float64) float64 {
		var values []float64
		for i, r := range measured[kind] {
			values = append(values, of(r)/of(measured["bare"][i]))
		}
		return median(values)
	}
	qps, perCPU, p99 := func(r round) float64 { return r.qps }, func(r round) float64 { return r.perCPU }, func(r round) float64 { return r.p99 }
	report("dns_bare_cpu_us_per_query", column("bare", perCPU))
	report("dns_bare_qps", column("bare", qps))
	for _, kind := range kinds[1:] {
		report(labels[kind]+"_cpu_per_query_over_bare", ratio(kind, perCPU))
		report(labels[kind]+"_qps_over_bare", ratio(kind, qps))
		report(labels[kind]+"_p99_over_bare", ratio(kind, p99))
		report(labels[kind]+"_p99_ms", column(kind, p99))
	}
}

// measure starts a server, loads it as hard as it goes, and then at half
// of bare's rate (0: of its own) for its latency.
func measure(kind, dir, input string, seconds int, half float64) (r round, err error) {
	p, err := launch(kind, dir)
	if err != nil {
		return r, err
	}
	defer p.stop()
	before, err := cpu(p.cmd.Process.Pid)
	if err != nil {
		return r, err
	}
	out, err := perf(p.addr, input, "-l", strconv.Itoa(seconds), "-c", "4", "-q", "256")
	if err != nil {
		return r, err
	}
	after, err := cpu(p.cmd.Process.Pid)
	if err != nil {
		return r, err
	}
	completed, err := figure(out, `Queries completed:\s+(\d+)`)
	if err != nil {
		return r, err
	}
	if r.qps, err = figure(out, `Queries per second:\s+([\d.]+)`); err != nil {
		return r, err
	}
	r.perCPU = float64((after - before).Microseconds()) / completed
	if half == 0 {
		half = r.qps / 2
	}
	out, err = perf(p.addr, input, "-l", "2", "-c", "4", "-v", "-Q", strconv.Itoa(int(half)))
	if err != nil {
		return r, err
	}
	r.p99, err = percentile(out)
	return r, err
}

// launch starts a server of a kind, on CPUs of its own where there are
// enough.
func launch(kind, dir string) (*process, error) {
	if kind == "coredns" {
		return launchCoreDNS(dir)
	}
	args := []string{"/proc/" + strconv.Itoa(os.Getpid()) + "/exe", "serve", kind, "127.0.0.1:0"}
	if cpus := runtime.NumCPU(); cpus >= 4 {
		args = append([]string{"taskset", "-c", fmt.Sprintf("0-%d", cpus/2-1)}, args...)
	}
	return start(args[0], args[1:]...)
}

func launchCoreDNS(dir string) (*process, error) {
	free, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(free.LocalAddr().String())
	free.Close()
	conf, err := coreFile(dir, port)
	if err != nil {
		return nil, err
	}
	p, err := start("coredns", "-conf", conf) // its first line is its zone, printed when it listens
	if err == nil {
		p.addr = "127.0.0.1:" + port
	}
	return p, err
}

// perf runs dnsperf, and fails unless every query was answered with
// NOERROR: a fast wrong answer is none.
func perf(addr, input string, args ...string) ([]byte, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	args = append([]string{"dnsperf", "-s", host, "-p", port, "-d", input}, args...)
	if cpus := runtime.NumCPU(); cpus >= 4 {
		args = append([]string{"taskset", "-c", fmt.Sprintf("%d-%d", cpus/2, cpus-1)}, args...)
	}
	out, err := exec.Command(args[0], args[1:]...).Output()
	if err != nil {
		return nil, fmt.Errorf("run dnsperf: %w", err)
	}
	if !regexp.MustCompile(`Response codes:\s+NOERROR \d+ \(100\.00%\)`).Match(out) {
		return nil, fmt.Errorf("run dnsperf: not every answer is NOERROR:\n%s", out[max(0, len(out)-1000):])
	}
	return out, nil
}

func figure(out []byte, pattern string) (float64, error) {
	m := regexp.MustCompile(pattern).FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("read dnsperf's figures: no %q", pattern)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

// percentile reads the 99th percentile from the lines dnsperf -v prints for
// each query, which end in its latency in seconds.
func percentile(out []byte) (float64, error) {
	var latencies []float64
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		line := lines.Text()
		if !strings.HasPrefix(line, "> NOERROR") {
			continue
		}
		seconds, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("read dnsperf's line %q: %w", line, err)
		}
		latencies = append(latencies, 1000*seconds)
	}
	if len(latencies) == 0 {
		return 0, fmt.Errorf("read dnsperf's figures: it printed no query")
	}
	slices.Sort(latencies)
	return latencies[len(latencies)*99/100], nil
}

// questions asks for every name once, in an order that is no order.
func questions() []byte {
	var b bytes.Buffer
	for i := range names {
		fmt.Fprintf(&b, "%s A\n", question(i*7919%names))
	}
	return b.Bytes()
}
