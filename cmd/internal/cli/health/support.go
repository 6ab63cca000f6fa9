package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/doctor"
	"gvlan/cmd/internal/support"
)

// NewSupport is `gvlan support`.
func NewSupport(version string) *cobra.Command {
	var redact bool
	c := &cobra.Command{
		Use:   "support [FILE]",
		Short: "Pack what a bug report needs into one archive",
		Long: "Writes a tar.gz with what gvlan doctor finds, what the agent says of networks, hosts, names and the store,\n" +
			"settings, versions, the last logs, and the links and routes of this host; to gvlan-support-TIME.tar.gz, to FILE,\n" +
			"or for - to standard output. What cannot be had is left out, and said so: it works with the agent down.\n" +
			"Secrets are never in it. With --redact, names of containers, hosts, networks and domains are replaced by\n" +
			"pseudonyms; addresses are not. Look into it before you give it to anybody.",
		Example: "  gvlan support\n  gvlan support --redact\n  gvlan support --redact /tmp/gvlan.tar.gz",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			file := "gvlan-support-" + time.Now().UTC().Format("20060102T150405Z") + ".tar.gz"
			if len(args) == 1 {
				file = args[0]
			}
			own, err := ownSettings(c)
			if err != nil {
				return err
			}
			host, closeHost, err := thisHost(c, own, version)
			if err != nil {
				return err
			}
			waiting := frame.Waiting(c, "answers of the engine, the agent and the logs")
			err = packTo(c.Context(), c.OutOrStdout(), file, packed(host, own), redact)
			waiting.End()
			return errors.Join(err, closeHost())
		},
	}
	c.Flags().BoolVar(&redact, "redact", false, "replace the names of containers, hosts, networks and domains")
	addHostFlags(c.Flags())
	return c
}

// packTo writes the archive to a file of its own, for root only, and prints where
// it is.
func packTo(ctx context.Context, out io.Writer, path string, h support.Host, redact bool) error {
	if path == "-" {
		return support.Write(ctx, os.Stdout, h, redact) // not what escapes text for a terminal
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already: give another FILE", path)
	}
	if err != nil {
		return fmt.Errorf("write the archive: %w", err)
	}
	if err := errors.Join(support.Write(ctx, file, h, redact), file.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	_, err = fmt.Fprintln(out, path)
	return err
}

// packed is the host that is examined, as what an archive is made of. What the
// agent tells of its settings has no secrets, those of the command do.
func packed(h doctor.Host, own config.Config) support.Host {
	return support.Host{
		Name: h.Name, Version: h.Version, Settings: h.Config, Secrets: secretsOf(h.Config, own),
		Agent: h.Agent, Engine: h.Engine, Files: h.Files, Now: h.Now, Run: h.Run,
		Examine: func(ctx context.Context) doctor.Report { return doctor.Examine(ctx, h) },
	}
}

// secretsOf are those of some settings, of which the files lie on this host. One
// that cannot be read cannot be in the archive by this command's doing.
func secretsOf(all ...config.Config) (secrets []string) {
	for _, c := range all {
		_ = c.ReadSecrets()
		token, _ := c.JoinToken()
		secrets = append(secrets, c.Etcd.Password, c.DNS.Update.Secret, c.Web.Password, token)
	}
	return secrets
}
