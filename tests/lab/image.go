package lab

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// busyboxPath is Debian's package busybox-static.
const busyboxPath = "/bin/busybox"

// importBusybox gives the engine the image busybox: one static program under all its
// names (sh, sleep, ping, ip, arping, nslookup, httpd, wget, nc ...).
func (e *Engine) importBusybox(ctx context.Context) error {
	path, err := busyboxImage(ctx)
	if err != nil {
		return err
	}
	image, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open image: %w", err)
	}
	defer image.Close()
	return e.Import(ctx, "busybox", image)
}

// Import makes an image from the tar archive of a root file system. A container of
// it runs sh unless told otherwise.
func (e *Engine) Import(ctx context.Context, name string, rootfs io.Reader) error {
	cmd := e.machine.Command(ctx, "docker", "import", "-c", `CMD ["sh"]`, "-", name)
	cmd.Stdin = rootfs
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("import image %s on %s: %w: %s", name, e.machine.Name, err, bytes.TrimSpace(out))
	}
	return nil
}

// busyboxImage gives the path of the image's tar archive, made once per machine.
func busyboxImage(ctx context.Context) (string, error) {
	path := filepath.Join(cacheDir(), "busybox.tar")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	list, err := exec.CommandContext(ctx, busyboxPath, "--list").Output()
	if err != nil {
		return "", fmt.Errorf("list busybox's programs: %w (%w)", errNotInstalled, err)
	}
	program, err := os.ReadFile(busyboxPath)
	if err != nil {
		return "", fmt.Errorf("read busybox: %w", err)
	}
	archive, err := busyboxArchive(program, strings.Fields(string(list)))
	if err != nil {
		return "", fmt.Errorf("make busybox image: %w", err)
	}
	return path, writeWhole(path, archive)
}

func busyboxArchive(program []byte, applets []string) ([]byte, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	var err error
	add := func(h tar.Header, data []byte) {
		h.Size = int64(len(data))
		err = errors.Join(err, w.WriteHeader(&h))
		_, werr := w.Write(data)
		err = errors.Join(err, werr)
	}
	for _, dir := range []string{"bin/", "etc/", "root/", "tmp/", "var/", "www/"} {
		add(tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	}
	add(tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, program)
	for _, a := range applets {
		if a != "busybox" {
			add(tar.Header{Name: "bin/" + a, Typeflag: tar.TypeSymlink, Linkname: "busybox"}, nil)
		}
	}
	return archive.Bytes(), errors.Join(err, w.Close())
}

// writeWhole writes a file so that other processes see all of it or none.
func writeWhole(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
