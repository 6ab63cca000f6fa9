package sandbox

const (
	TableName = tableName
	IdleLimit = idleLimit
)

// Unsupported marks the errors of a kernel that lacks nftables.
func Unsupported(err error) error { return unsupported(err) }

// AsUser runs f, which opens a socket, so that the socket is a user's.
func AsUser(uid int, f func() error) error { return asUser(uid, f) }

// Running reports whether Run runs.
func (s *Resolvers) Running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ctx != nil
}

// CheckProcesses looks for processes, as Run does now and then.
func (s *Resolvers) CheckProcesses() { s.checkProcesses() }

// AllOpen reports whether every sandbox has its resolver.
func (s *Resolvers) AllOpen() bool {
	for _, b := range s.all() {
		b.mu.Lock()
		open := b.resolver != nil
		b.mu.Unlock()
		if !open {
			return false
		}
	}
	return true
}
