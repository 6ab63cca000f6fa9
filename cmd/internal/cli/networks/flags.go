package networks

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"gvlan/cmd/internal/cli/frame"
	"gvlan/driver/engine"
	"gvlan/driver/option"
	"gvlan/ipam/pool"
)

// networkFlags are Docker's own flags of `network create`.
type networkFlags struct {
	driver, ipamDriver             string
	subnets, ranges, gateways, aux []string
	labels, options, ipamOptions   []string
	ipv4, ipv6                     bool
	internal, attachable           bool
}

func (f *networkFlags) register(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVarP(&f.driver, "driver", "d", "", "`NAME` of this agent's driver, gvlan by default; no other")
	flags.StringVar(&f.ipamDriver, "ipam-driver", "", "`NAME`, the same")
	flags.StringArrayVar(&f.subnets, "subnet", nil, "subnet in `CIDR`, may be repeated")
	flags.StringArrayVar(&f.ranges, "ip-range", nil, "`CIDR`, the part of a subnet that containers get addresses from")
	flags.StringArrayVar(&f.gateways, "gateway", nil, "`ADDRESS` of a subnet's router")
	flags.StringArrayVar(&f.aux, "aux-address", nil, "`NAME=ADDRESS` that is never given")
	flags.StringArrayVar(&f.labels, "label", nil, "`KEY=VALUE` that Docker shows")
	flags.StringArrayVarP(&f.options, "opt", "o", nil, "driver `OPTION=VALUE`, as parent=eth0; listed above")
	flags.StringArrayVar(&f.ipamOptions, "ipam-opt", nil, "address `OPTION=VALUE`, as segment=factory; listed above")
	flags.BoolVar(&f.ipv4, "ipv4", true, "give IPv4 addresses")
	flags.BoolVar(&f.ipv6, "ipv6", false, "give IPv6 addresses")
	flags.BoolVar(&f.internal, "internal", false, "no way out of the network")
	flags.BoolVar(&f.attachable, "attachable", false, "let standalone containers attach (swarm)")
	completesOptions(c, "opt", option.Network())
	completesOptions(c, "ipam-opt", option.IPAM())
}

// request is what the engine is asked.
func (f *networkFlags) request(name string) (r engine.NetworkRequest, err error) {
	r = engine.NetworkRequest{Name: name, IPv4: f.ipv4, IPv6: f.ipv6, Internal: f.internal, Attachable: f.attachable}
	r.Driver, r.IPAM.Driver = f.driver, f.ipamDriver
	for _, m := range []struct {
		flag  string
		items []string
		to    *map[string]string
	}{{"label", f.labels, &r.Labels}, {"opt", f.options, &r.Options}, {"ipam-opt", f.ipamOptions, &r.IPAM.Options}} {
		if *m.to, err = pairs(m.flag, m.items); err != nil {
			return r, err
		}
	}
	if _, err := option.Parse(r.Options); err != nil {
		return r, err
	}
	if _, err := pool.ParseOptions(r.IPAM.Options); err != nil {
		return r, err
	}
	r.IPAM.Pools, err = f.pools()
	return r, err
}

// pairs reads KEY=VALUE items; a key alone has an empty value.
func pairs(flag string, items []string) (map[string]string, error) {
	all := map[string]string{}
	for _, item := range items {
		key, value, _ := strings.Cut(item, "=")
		if _, twice := all[key]; twice {
			return nil, fmt.Errorf("--%s %s is given twice", flag, key)
		}
		all[key] = value
	}
	return all, nil
}

// pools puts every range, gateway and aux address to the subnet it lies in.
func (f *networkFlags) pools() ([]engine.Pool, error) {
	var pools []engine.Pool
	for _, s := range f.subnets {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("--subnet %q is no CIDR, as in 192.168.1.0/24", s)
		}
		pools = append(pools, engine.Pool{Subnet: p.Masked()})
	}
	for _, s := range f.ranges {
		r, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("--ip-range %q is no CIDR, as in 192.168.1.128/25", s)
		}
		p, err := poolOf(pools, "ip-range", r.Addr())
		if err != nil {
			return nil, err
		}
		p.Range = r
	}
	for _, s := range f.gateways {
		addr, p, err := addressIn(pools, "gateway", s)
		if err != nil {
			return nil, err
		}
		p.Gateway = addr
	}
	return pools, f.auxIn(pools)
}

func (f *networkFlags) auxIn(pools []engine.Pool) error {
	for _, s := range f.aux {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("--aux-address %q: want NAME=ADDRESS", s)
		}
		addr, p, err := addressIn(pools, "aux-address", value)
		if err != nil {
			return err
		}
		if p.Aux == nil {
			p.Aux = map[string]netip.Addr{}
		}
		p.Aux[name] = addr
	}
	return nil
}

func addressIn(pools []engine.Pool, flag, s string) (netip.Addr, *engine.Pool, error) {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return addr, nil, fmt.Errorf("--%s %q is no address, as 192.168.1.1", flag, s)
	}
	p, err := poolOf(pools, flag, addr)
	return addr, p, err
}

// poolOf finds the subnet an address lies in.
func poolOf(pools []engine.Pool, flag string, addr netip.Addr) (*engine.Pool, error) {
	for i := range pools {
		if pools[i].Subnet.Contains(addr) {
			return &pools[i], nil
		}
	}
	return nil, fmt.Errorf("--%s %s lies in no --subnet of the network", flag, addr)
}

// completesOptions has a shell complete the options of a flag, and their values.
func completesOptions(c *cobra.Command, flag string, table []option.Described) {
	frame.CompletesBy(c, flag, func(c *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return completeOption(c, table, begun)
	})
}

// completeOption completes NAME=VALUE: a parent to what hosts have.
func completeOption(c *cobra.Command, table []option.Described, begun string) (all []cobra.Completion, _ cobra.ShellCompDirective) {
	name, value, named := strings.Cut(begun, "=")
	for _, o := range table {
		switch {
		case !named && strings.HasPrefix(o.Name, name):
			all = append(all, cobra.CompletionWithDesc(o.Name+"=", o.Meaning))
		case named && o.Name == name:
			words, before, last := o.Words, "", value
			if name == "parent" { // a list, whose last item is being typed
				words = append(frame.Known(c, frame.Interfaces), words...)
				last = strings.TrimLeft(value[strings.LastIndexByte(value, ',')+1:], " !")
				before = strings.TrimSuffix(value, last)
			}
			for _, w := range words {
				if strings.HasPrefix(w, last) {
					all = append(all, name+"="+before+w)
				}
			}
			return all, cobra.ShellCompDirectiveNoFileComp
		}
	}
	return all, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}
