package agent

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/web/door"
)

// ownCertificate is the file, in the data directory, of the certificate that the page
// has unless another is given.
const ownCertificate = "web.pem"

// pages is how the page is reached over TCP.
type pages struct {
	config config.Web
	at     string     // HOST:PORT that people are to open
	door   *door.Door // nil: nowhere
}

// newPages makes the door to a site, if there is to be one.
func newPages(c config.Config, host string, address netip.Addr, site http.Handler, log *slog.Logger) (pages, error) {
	p := pages{config: c.Web, at: c.Web.Listen}
	if c.Web.Listen == "" {
		return p, nil
	}
	name, port, err := net.SplitHostPort(c.Web.Listen)
	if err != nil {
		return p, fmt.Errorf("--web-listen: %w", err)
	}
	if at, err := netip.ParseAddr(name); err == nil && at.Unmap().IsUnspecified() {
		name = address.String()
		p.at = net.JoinHostPort(name, port)
	}
	made := door.Config{
		Site: site, Listen: c.Web.Listen, Password: c.Web.Password, ProxyHeader: c.Web.ProxyHeader, ProxyFrom: c.Web.ProxyFrom,
		Command: "gvlan web", Now: time.Now, Random: rand.Reader, Log: log,
	}
	if c.Swarm {
		made.Command += " --swarm"
	}
	if c.Web.TLS() {
		made.Certificate = &door.Certificate{Cert: c.Web.Cert, Key: c.Web.Key, Now: time.Now, Log: log}
	}
	if c.Web.TLS() && c.Web.Cert == "" {
		own := filepath.Join(c.DataDir, ownCertificate)
		made.Certificate.Cert, made.Certificate.Key = own, own
		for _, one := range []string{host, name, address.String()} {
			if one != "" && !slices.Contains(made.Certificate.Names, one) {
				made.Certificate.Names = append(made.Certificate.Names, one)
			}
		}
	}
	p.door, err = door.New(made)
	return p, err
}

// run lets people in until ctx ends.
func (p pages) run(ctx context.Context) error {
	if p.door == nil {
		return nil
	}
	return p.door.Run(ctx)
}

// warnings are why the page cannot be reached.
func (p pages) warnings() []string {
	if p.door == nil {
		return nil
	}
	if err := p.door.Missing(); err != nil {
		return []string{fmt.Sprintf("the page is not served on --web-listen %s: %v", p.config.Listen, err)}
	}
	return nil
}

// link is a way in for one browser.
func (p pages) link() (api.WebDoor, error) {
	if p.door == nil {
		return api.WebDoor{}, nil
	}
	told := api.WebDoor{Listen: p.config.Listen, Password: p.config.Password != "", ProxyHeader: p.config.ProxyHeader}
	if err := p.door.Missing(); err != nil {
		told.Why = err.Error()
		return told, nil
	}
	var err error
	if p.config.TLS() {
		told.Made = p.config.Cert == ""
		if told.Fingerprint, err = p.door.Certificate.Fingerprint(); err != nil {
			return told, err
		}
	}
	told.Link, err = p.door.Link(p.at)
	return told, err
}
