package cluster

import (
	"fmt"
	"net/netip"

	"minato/internal/host"
)

// clash is a range of a cluster that something else on the machine uses.
type clash struct {
	cluster string
	purpose purpose
	mine    netip.Prefix
	used    host.Used
	other   *Config      // the cluster whose range it is, nil if it is none's
	known   bool         // the cluster has its ranges from an earlier start
	free    netip.Prefix // a range to be given in its place; invalid if there is none
}

// Error implements error.
func (c clash) Error() string {
	flag := flags[c.purpose]
	what := fmt.Sprintf("%s %s overlaps %s, which this machine uses already (%s)", flag, c.mine, c.used.Prefix, c.where())
	if c.other != nil {
		what = fmt.Sprintf("%s %s overlaps %s of the cluster %q, which is up", flag, c.mine, c.used.Prefix, c.other.Name)
	}
	instead := "choose another range with " + flag
	if c.free.IsValid() {
		instead = fmt.Sprintf("%s %s is free", flag, c.free)
	}
	switch {
	case c.known && c.other != nil:
		return fmt.Sprintf("%s: end that one first with `minato down%s`, or make this one anew with another range: `minato delete%s`, and then `minato up%s` (%s)",
			what, nameFlag(c.other.Name), nameFlag(c.cluster), nameFlag(c.cluster), instead)
	case c.known:
		return fmt.Sprintf("%s: take it away, or make this cluster anew with another range: `minato delete%s`, and then `minato up%s` (%s)",
			what, nameFlag(c.cluster), nameFlag(c.cluster), instead)
	}
	return fmt.Sprintf("%s: leave %s out, and `up` takes a free range; %s", what, flag, instead)
}

func (c clash) where() string {
	if c.used.Link == "" {
		return "a route"
	}
	return "link " + c.used.Link
}
