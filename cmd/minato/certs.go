package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"

	"minato/internal/cluster"
)

func newCertsCommand(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "certs",
		Short: "Show when the certificates of a cluster expire, and are renewed",
		Long: `Show when each certificate of a cluster expires, and when its server renews it:
when a third of its life is left, and a tenth of that of a CA. The server does so
while it runs, and open connections go on. The kubeconfigs that ` + "`minato up`" + ` and
` + "`minato kubeconfig --merge`" + ` wrote get the administrator's new certificate; copies
of them have to be made anew. A CA keeps its key, so what it has signed stays good.`,
		Example: "  minato certs\n  minato certs -o json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := cluster.ListCertificates(o.name)
			if err != nil {
				return err
			}
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), all)
			}
			return printCertificates(cmd.OutOrStdout(), all, time.Now())
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func printCertificates(out io.Writer, all []cluster.Certificate, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "CERTIFICATE\tISSUER\tEXPIRES\tLEFT\tRENEWED IN")
	for _, c := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", c.Name, c.Issuer, c.NotAfter.UTC().Format(time.DateTime)+"Z", left(c.NotAfter, now, "expired"), left(c.RenewAt, now, "due"))
	}
	return w.Flush()
}

// left is the time until t, or what is said when it has come.
func left(t, now time.Time, past string) string {
	if !t.After(now) {
		return past
	}
	return duration.HumanDuration(t.Sub(now))
}
