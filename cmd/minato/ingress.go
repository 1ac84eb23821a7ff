package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/spf13/cobra"

	"minato/internal/cluster"
	"minato/internal/cluster/standalone/ingress"
)

func newIngressCommand(o *options) *cobra.Command {
	var cfg ingress.Config
	cmd := &cobra.Command{
		Use:   "ingress",
		Short: "Show where requests to Ingresses go, and why; or serve Ingresses in any cluster",
		Long: `In a cluster of "minato up" the commands below show where its proxies send
requests, and why, and what of Ingresses is honoured. With -f the same is
answered for manifests, without a cluster.

With --kubeconfig, or in a Pod, this serves the Ingresses of a cluster that
something else runs, in place of ingress-nginx and with its annotations,
settings and flags. One of these processes writes the status of Ingresses. A
flag of ingress-nginx's that is not listed below is refused, with what to do in
its place.`,
		Example: `  minato ingress --kubeconfig /etc/minato/ingress.conf --publish-status-address 192.0.2.1
  minato ingress routes
  minato ingress match https://shop.example.com/cart
  minato ingress check --all
  minato ingress check -f ingress.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := knownCommand(cmd, args); err != nil {
				return err
			}
			if !cfg.Meant() {
				return cmd.Help()
			}
			if err := noName(cmd, "this serves a cluster that something else runs"); err != nil {
				return err
			}
			return ingress.Run(cmd.Context(), cfg)
		},
	}
	cfg.AddFlags(cmd.Flags())
	cmd.AddCommand(newIngressRoutesCommand(o), newIngressMatchCommand(o), newIngressCheckCommand(o))
	return cmd
}

// filesFlag adds -f to a command that answers for manifests as well.
func filesFlag(cmd *cobra.Command, files *[]string) {
	cmd.Flags().StringArrayVarP(files, "filename", "f", nil, "manifests to answer for in place of a cluster; - is standard input; may be given several times")
}

func newIngressRoutesCommand(o *options) *cobra.Command {
	var f serviceFlags
	var files []string
	cmd := &cobra.Command{
		Use:     "routes",
		Short:   "List every path of every host, in the order in which they are tried",
		Example: "  minato ingress routes\n  minato ingress routes -f ingress.yaml -o json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var routes []cluster.IngressRoute
			var err error
			if len(files) > 0 {
				if err := noName(cmd, "-f asks no cluster"); err != nil {
					return err
				}
				routes, err = cluster.FileIngressRoutes(files)
			} else {
				routes, err = cluster.ReadIngressRoutes(cmd.Context(), o.name, f.node)
			}
			if err != nil {
				return err
			}
			if f.output == "json" {
				return printJSON(cmd.OutOrStdout(), routes)
			}
			return cluster.WriteIngressRoutes(cmd.OutOrStdout(), routes)
		},
	}
	f.add(cmd)
	filesFlag(cmd, &files)
	return cmd
}

func newIngressMatchCommand(o *options) *cobra.Command {
	var f serviceFlags
	var files, headers []string
	var method, from string
	cmd := &cobra.Command{
		Use:   "match URL",
		Short: "Show where a request goes, what is done to it, and why other rules lost",
		Example: `  minato ingress match http://shop.example.com/cart
  minato ingress match https://shop.example.com/ -H 'X-Canary: always' --from 192.0.2.7 -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("name one URL: `minato ingress match URL`")}
			}
			q := cluster.IngressQuestion{URL: args[0], Method: method, Header: http.Header{}}
			for _, h := range headers {
				if err := cluster.ParseIngressHeader(&q, h); err != nil {
					return usageError{fmt.Errorf("-H %q: %w", h, err)}
				}
			}
			if from != "" {
				var err error
				if q.From, err = netip.ParseAddr(from); err != nil {
					return usageError{fmt.Errorf("--from %q: it is not an address", from)}
				}
			}
			var answer *cluster.IngressAnswer
			var err error
			if len(files) > 0 {
				if err := noName(cmd, "-f asks no cluster"); err != nil {
					return err
				}
				answer, err = cluster.FileMatchIngress(files, q)
			} else {
				answer, err = cluster.MatchIngress(cmd.Context(), o.name, f.node, q)
			}
			if err != nil {
				return err
			}
			if f.output == "json" {
				return printJSON(cmd.OutOrStdout(), answer)
			}
			return answer.Write(cmd.OutOrStdout())
		},
	}
	f.add(cmd)
	filesFlag(cmd, &files)
	cmd.Flags().StringArrayVarP(&headers, "header", "H", nil, "a header of the request, such as 'Cookie: a=b'; may be given several times")
	cmd.Flags().StringVarP(&method, "method", "X", http.MethodGet, "the request's method")
	cmd.Flags().StringVar(&from, "from", "", "the client's address")
	return cmd
}
