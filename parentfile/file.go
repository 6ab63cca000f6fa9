package parentfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"golang.org/x/sys/unix"
)

// maxFileSize bounds a parent file: it holds a few names, and the agent reads
// it at every container start.
const maxFileSize = 64 << 10

// ErrFile is wrapped by every FileError whose cause is the file's content,
// kind or path rather than an error of the operating system.
var ErrFile = errors.New("bad parent file")

// FileError says what is wrong with a parent file, in one sentence that names
// the host and the path. It wraps ErrFile or the *fs.PathError of the
// operating system, so errors.Is with fs.ErrNotExist or fs.ErrPermission works.
type FileError struct {
	Node string // this host's node name; Load leaves it empty, the caller fills it in
	Path string
	Line int    // 1-based, 0 where no line is to blame
	Text string // what is wrong and what would be right
	Err  error
}

// Error composes the sentence.
func (e *FileError) Error() string {
	at := ""
	if e.Line > 0 {
		at = fmt.Sprintf(" line %d", e.Line)
	}
	path := e.Path
	if strings.ContainsFunc(path, func(r rune) bool { return !unicode.IsPrint(r) }) {
		path = strconv.Quote(path) // else it would not be one line
	}
	return fmt.Sprintf("parent file %s%s on %s: %s", path, at, nodeName(e.Node), e.Text)
}

// Unwrap gives the cause.
func (e *FileError) Unwrap() error { return e.Err }

// File is the content of a parent file: a list for every kind and the lists
// that stand in its sections.
type File struct {
	Path    string
	Top     List // top-level, or the line of a plain text file
	Macvlan List // [macvlan]
	Ipvlan  List // [ipvlan]
	Old     bool // says host_iface, the oldest guide's word for parent
}

// CheckPath refuses a path that cannot mean the same file on every host: one
// that is empty or relative. It reads nothing.
func CheckPath(path string) error {
	switch {
	case path == "":
		return &FileError{Path: `""`, Err: ErrFile, Text: "the path is empty, use for example -o parent-file=/etc/gvlan/parent.toml"}
	case !filepath.IsAbs(path):
		return &FileError{Path: path, Err: ErrFile, Text: "the path is relative, give the same absolute path on every host, such as /etc/gvlan/parent.toml"}
	}
	return nil
}

// Load reads and decodes the parent file at path, an absolute path to a
// regular file of at most 64 KiB. Every error is a *FileError.
func Load(path string) (File, error) {
	if err := CheckPath(path); err != nil {
		return File{}, err
	}
	data, err := read(path)
	if err != nil {
		return File{}, err
	}
	f, err := Decode(data)
	f.Path = path
	var bad *FileError
	if errors.As(err, &bad) {
		bad.Path = path
	}
	return f, err
}

// List gives the list for links of that kind (Macvlan or Ipvlan): the
// section's, else the top level's. A *FileError says that neither names one.
func (f File) List(kind string) (List, error) {
	list := f.Top
	switch {
	case kind == Macvlan && !f.Macvlan.Empty():
		list = f.Macvlan
	case kind == Ipvlan && !f.Ipvlan.Empty():
		list = f.Ipvlan
	}
	if list.Empty() {
		text := fmt.Sprintf("it names no parent for %s, add for example parent = \"eth0\" under [%s]", kind, kind)
		return List{}, &FileError{Path: f.Path, Err: ErrFile, Text: text}
	}
	return list, nil
}

func read(path string) ([]byte, error) {
	// Before it is opened, which is an act where it is a device; what it is then
	// counts.
	before, err := os.Stat(path)
	if err != nil {
		return nil, &FileError{Path: path, Err: err, Text: openText(err)}
	}
	if text := refuseKind(before); text != "" {
		return nil, &FileError{Path: path, Err: ErrFile, Text: text}
	}
	// Not blocking, so that a FIFO in the file's place cannot hang a container start.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, &FileError{Path: path, Err: err, Text: openText(err)}
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, &FileError{Path: path, Err: err, Text: openText(err)}
	}
	text := refuseKind(info)
	if text == "" && ofTheKernel(file) {
		text = "it is the kernel's own, and not a regular file"
	}
	if text != "" {
		return nil, &FileError{Path: path, Err: ErrFile, Text: text}
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFileSize+1))
	if err != nil {
		return nil, &FileError{Path: path, Err: err, Text: openText(err)}
	}
	if len(data) > maxFileSize {
		return nil, &FileError{Path: path, Err: ErrFile, Text: "it is larger than 64 KiB, which no parent file is"}
	}
	return data, nil
}

func refuseKind(info fs.FileInfo) string {
	switch {
	case info.IsDir():
		return "it is a directory, name a file in it"
	case !info.Mode().IsRegular():
		return "it is not a regular file"
	}
	return ""
}

// ofTheKernel reports whether a file is one of those that the kernel makes up while it
// is read, which pass for regular ones: to read /proc/kmsg takes what it says from
// whoever waits for it.
func ofTheKernel(file *os.File) bool {
	var fsys unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &fsys); err != nil {
		return false // the read says what is wrong
	}
	switch fsys.Type {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC,
		unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.EFIVARFS_MAGIC:
		return true
	}
	return false
}

func openText(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "the file does not exist; every host needs its own file at that path"
	case errors.Is(err, fs.ErrPermission):
		return "the agent may not read it"
	}
	var cause *fs.PathError
	if errors.As(err, &cause) {
		err = cause.Err
	}
	return fmt.Sprintf("it cannot be read: %v", err)
}
