package leases

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/terminal"
	"gvlan/ipam/reserve"
)

// NewReserve is `gvlan reserve`.
func NewReserve() *cobra.Command {
	var wish reserve.Wish
	c := &cobra.Command{
		Use: "reserve NETWORK ADDRESS[-ADDRESS]", Short: "Keep addresses back, for a container by its name or from every container", Args: cobra.ExactArgs(2),
		Long: "Reserves addresses of a network of the cluster, on every host at once. Nobody is given one by chance; with --for\n" +
			"the container of that name is, on whichever host it starts, and another one that asks for it (--ip) is told the\n" +
			"note. Without --for no container is given it: somebody else on the LAN has it. What is in use stays so until it\n" +
			"is released. The same command again changes note and MAC address; a reservation for another container has to be\n" +
			"ended first (gvlan unreserve). gvlan lease ls lists what is reserved. With --for SERVICE the tasks of a swarm's\n" +
			"service may have it as their fixed address (driver-opt gvlan.ip).\n\n" +
			"Engines before 29 do not say which container asks. There --ip gets it where the container of that name is on the\n" +
			"host and does not run; without --ip it is given where no other container of the host can be the one that asks.",
		Example: `  gvlan reserve lan 192.168.1.50 --for web --note "firewall rule 12"
  gvlan reserve lan 192.168.1.51 --for db --mac 02:42:c0:a8:01:33
  gvlan reserve lan 192.168.1.60-192.168.1.69 --note printers`,
	}
	c.Flags().StringVar(&wish.For, "for", "", "name of the container that is given it, or of the service whose fixed address it is")
	c.Flags().StringVar(&wish.MAC, "mac", "", "MAC address that goes with it, in place of the one that follows from the address")
	c.Flags().StringVar(&wish.Note, "note", "", "what it is for: whoever is refused is told")
	frame.CompletesFlag(c, "for", frame.Containers)
	ask := func(c *cobra.Command, client *api.Client, args []string) (api.ReservationAnswer, error) {
		for _, flag := range []string{"for", "mac"} { // as of a variable that is not set
			if c.Flags().Changed(flag) && c.Flags().Lookup(flag).Value.String() == "" {
				return api.ReservationAnswer{}, frame.Misusef("--%s is empty: give one, or leave --%s out", flag, flag)
			}
		}
		return askReservation(c, client, http.MethodPost, args, wish)
	}
	return frame.Completes(frame.Showing(c, ask, printReserved), frame.Networks)
}

// NewUnreserve is `gvlan unreserve`.
func NewUnreserve() *cobra.Command {
	c := &cobra.Command{
		Use: "unreserve NETWORK ADDRESS[-ADDRESS]", Short: "Give addresses that were kept back to whoever asks", Args: cobra.ExactArgs(2),
		Long:    "Ends the reservations of addresses of a network. A container that has one of them keeps it.",
		Example: "  gvlan unreserve lan 192.168.1.50\n  gvlan unreserve lan 192.168.1.60-192.168.1.69",
	}
	ask := func(c *cobra.Command, client *api.Client, args []string) (api.ReservationAnswer, error) {
		return askReservation(c, client, http.MethodDelete, args, reserve.Wish{})
	}
	show := func(c *cobra.Command, _ *api.Client, a api.ReservationAnswer) error {
		terminal.InCells(&a)
		_, err := fmt.Fprintf(c.OutOrStdout(), "%s of %s: %s reserved no more\n", a.Words(), a.Network, addresses(a.Ended))
		return err
	}
	return frame.Completes(frame.Showing(c, ask, show), frame.Networks)
}

func askReservation(c *cobra.Command, client *api.Client, method string, args []string, wish reserve.Wish) (answer api.ReservationAnswer, err error) {
	if wish.First, wish.Last, err = reserve.ParseAddresses(args[1]); err != nil {
		return answer, frame.Misuse(err)
	}
	if err := wish.Check(); err != nil {
		return answer, frame.Misuse(err)
	}
	err = client.Send(c.Context(), method, api.Named(api.ReservationsRoute, args[0]), wish, &answer)
	return answer, err
}

// addresses is a number of them, with its verb.
func addresses(n int) string {
	if n == 1 {
		return "1 address is"
	}
	return fmt.Sprintf("%d addresses are", n)
}

func printReserved(c *cobra.Command, _ *api.Client, a api.ReservationAnswer) error {
	terminal.InCells(&a)
	var words []string
	if a.Made > 0 {
		words = append(words, addresses(a.Made)+" reserved")
	}
	if a.Changed > 0 {
		words = append(words, fmt.Sprintf("%s changed, and had %s", addresses(a.Changed), a.Before))
	}
	if a.Same > 0 {
		words = append(words, addresses(a.Same)+" reserved so already")
	}
	whom := ""
	if a.For != "" {
		whom = " for container " + a.For
	}
	if _, err := fmt.Fprintf(c.OutOrStdout(), "%s of %s%s: %s\n", a.Words(), a.Network, whom, strings.Join(words, ", ")); err != nil {
		return err
	}
	return printHolders(c.ErrOrStderr(), a)
}

// printHolders tells who has the addresses for now.
func printHolders(out io.Writer, a api.ReservationAnswer) error {
	for _, h := range a.Holders {
		if h.Container == a.For && a.For != "" {
			continue
		}
		who := "a container"
		if h.Container != "" {
			who = "container " + h.Container
		}
		if h.Host != "" {
			who += " on " + h.Host
		}
		if _, err := fmt.Fprintf(out, "%s is in use by %s: it stays so until that lets go of it\n", h.Address, who); err != nil {
			return err
		}
	}
	return nil
}
