package netns

// Processes gives the ids of the processes that HasProcess counts, in no order.
func (ns *Namespace) Processes() ([]int, error) {
	var pids []int
	err := ns.eachProcess(func(pid int) bool {
		pids = append(pids, pid)
		return true
	})
	return pids, err
}
