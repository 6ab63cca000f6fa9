package netns

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Others opens the network namespaces that the calling thread is not in: those
// that processes are in and those that are mounted, as `ip netns` and Docker
// do, each once. Their Path says by which of its paths each was opened, a
// process's where there is one. What this process may not look into is left
// out, and so is what only a socket or a process of another PID namespace
// keeps alive. The caller closes them.
func Others() ([]*Namespace, error) {
	home, err := Current()
	if err != nil {
		return nil, err
	}
	defer home.Close()
	pids, err := processes()
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	mounts, err := mounted()
	if err != nil {
		return nil, fmt.Errorf("list mounted network namespaces: %w", err)
	}
	paths := make([]string, 0, len(pids)+len(mounts))
	for _, pid := range pids {
		paths = append(paths, filepath.Join("/proc", strconv.Itoa(pid), "ns/net"))
	}
	var others []*Namespace
	seen := map[ID]bool{home.id: true}
	for _, path := range append(paths, mounts...) {
		id, err := identify(path)
		if err != nil || seen[id] {
			continue
		}
		// Between the two looks the process may have ended or moved on.
		if ns, err := Open(path); err == nil {
			others = append(others, ns)
			seen[ns.id] = true
		}
	}
	return others, nil
}

// mounted gives the paths that network namespaces are mounted on: proc(5),
// mountinfo.
func mounted() ([]string, error) {
	table, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	plain := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var paths []string
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && strings.HasPrefix(fields[3], "net:[") {
			paths = append(paths, plain.Replace(fields[4]))
		}
	}
	return paths, nil
}
