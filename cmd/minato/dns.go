package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"minato/internal/cluster"
	"minato/internal/cluster/standalone"
)

func newDNSCommand(o *options) *cobra.Command {
	var cfg standalone.DNSConfig
	cmd := &cobra.Command{
		Use:   "dns",
		Short: "Run the cluster DNS alone, for any cluster; or ask it",
		Long: `Run the cluster DNS alone, in place of CoreDNS, for a cluster that something
else runs. It answers the names of Services and Pods from the API of the
kubeconfig's cluster, or of the Pod's own where there is no kubeconfig, and
passes other names on to the resolvers of resolv.conf. Its configuration is the
ConfigMap kube-system/minato-dns or, without one, CoreDNS's own Corefile.

In a cluster of "minato up" the DNS is part of every node; "minato dns query"
asks it.`,
		Example:     "  minato dns --kubeconfig ~/.kube/config --listen 127.0.0.1:5353\n  minato dns query sample-clusterip --from default/testpod",
		Annotations: map[string]string{clusterless: "true"},
		Args:        noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return standalone.RunDNS(cmd.Context(), cfg)
		},
	}
	cfg.AddFlags(cmd.Flags())
	cmd.AddCommand(newDNSQueryCommand(o))
	return cmd
}

func newDNSQueryCommand(o *options) *cobra.Command {
	var output, from string
	cmd := &cobra.Command{
		Use:   "query NAME [TYPE]",
		Short: "Look a name up as a Pod would, and say why it is answered so",
		Long: `Look a name up at the DNS server of a Pod's node, as the Pod's resolver would:
with the Pod's search path, name by name until one is found. Each answer comes
with its reasons. Without --from, the name is taken as it is.`,
		Example: "  minato dns query web --from shop/cart-0\n  minato dns query _http._tcp.web.shop.svc.cluster.local SRV",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usageError{fmt.Errorf("`%s` takes a name and perhaps a record type; see `%s --help`", cmd.CommandPath(), cmd.CommandPath())}
			}
			if len(args) == 2 {
				if _, err := cluster.ParseDNSType(args[1]); err != nil {
					return usageError{err}
				}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			q := cluster.DNSQuestion{Name: args[0], Type: "A", From: from}
			if len(args) == 2 {
				q.Type = args[1]
			}
			return queryDNS(cmd.Context(), cmd.OutOrStdout(), o.name, q, output)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "the Pod that asks, [NAMESPACE/]NAME")
	outputFlag(cmd, &output)
	return cmd
}

func queryDNS(ctx context.Context, out io.Writer, name string, q cluster.DNSQuestion, output string) error {
	story, err := cluster.QueryDNS(ctx, name, q)
	if err != nil {
		return err
	}
	if output == "json" {
		if err := printJSON(out, story); err != nil {
			return err
		}
	} else {
		printDNSStory(out, story)
	}
	if last := story.Queries[len(story.Queries)-1]; !last.Found() {
		return fmt.Errorf("%s has no %s record for this client", q.Name, last.Type)
	}
	return nil
}

func printDNSStory(out io.Writer, story cluster.DNSStory) {
	if story.From != "" {
		fmt.Fprintf(out, "Pod %s on %s asks %s, ndots:%d, search %s\n", story.From, story.Node, story.Server, story.Search.Ndots, strings.Join(story.Search.Domains, " "))
	}
	for _, e := range story.Queries {
		fmt.Fprintf(out, "\n%s %s: %s\n", e.Name, e.Type, e.Rcode)
		for _, a := range e.Answer {
			fmt.Fprintf(out, "  %s\n", a)
		}
		for _, r := range e.Reasons {
			fmt.Fprintf(out, "  - %s\n", r)
		}
	}
}
