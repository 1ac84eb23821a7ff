package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"minato/internal/cluster"
)

func newIngressCheckCommand(o *options) *cobra.Command {
	check := cluster.NewIngressCheck()
	var all bool
	var output string
	cmd := &cobra.Command{
		Use:   "check -f FILE | --all",
		Short: "Say of each Ingress what is honoured, what differs from ingress-nginx, and what is refused",
		Long: `For each Ingress this says which of its annotations are honoured, which differ
from ingress-nginx, and which are refused, with what to do in their place; and
the same for the keys of ingress-nginx's ConfigMaps.

With -f it reads manifests and asks nobody: what they refer to may be among
them. With --all it reads all Ingresses of a live cluster, and of Secrets and
ConfigMaps those that they name.

The exit status is 1 if something is refused.`,
		Example: `  minato ingress check -f ingress.yaml
  helm template shop ./chart | minato ingress check -f -
  minato ingress check --all -o json
  minato ingress check --all --kubeconfig ~/.kube/config   # a cluster that something else runs`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case all == (len(check.Files) > 0):
				return usageError{errors.New("give manifests with -f, or --all for every Ingress of a cluster")}
			case check.Kubeconfig != "" && !all:
				return usageError{errors.New("--kubeconfig names a live cluster; give it with --all")}
			case check.Recursive && all:
				return usageError{errors.New("--recursive is about directories; give it with -f")}
			}
			if !all || check.Kubeconfig != "" {
				if err := noName(cmd, "-f and --kubeconfig ask no cluster of `minato up`"); err != nil {
					return err
				}
			}
			check.Name = o.name
			report, err := check.Run(cmd.Context())
			if err != nil {
				return err
			}
			write := report.WriteText
			if output == "json" {
				write = report.WriteJSON
			}
			if err := write(cmd.OutOrStdout()); err != nil {
				return err
			}
			if _, _, refused := report.Counts(); refused > 0 {
				return fmt.Errorf("refused: %d of what the Ingresses and settings ask for", refused)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&check.Files, "filename", "f", nil, "manifests, or a directory of them, to check; - is standard input; may be given several times")
	f.BoolVarP(&check.Recursive, "recursive", "R", false, "with -f, read directories in directories as well")
	f.BoolVar(&all, "all", false, "check every Ingress of a live cluster")
	f.StringVar(&check.Kubeconfig, "kubeconfig", "", "with --all, kubeconfig of a cluster that something else runs")
	f.StringVar(&check.ConfigMap, "configmap", "", "NAMESPACE/NAME of the ConfigMap with settings (default: kube-system/minato-ingress, or else ingress-nginx/ingress-nginx-controller)")
	f.StringVar(&check.Classes.Nginx, "controller-class", check.Classes.Nginx, "spec.controller of the IngressClasses with ingress-nginx's defaults")
	f.StringVar(&check.Classes.Annotation, "ingress-class", check.Classes.Annotation, "value of the old annotation that is served without an IngressClass")
	f.BoolVar(&check.Classes.WithoutClass, "watch-ingress-without-class", false, "Ingresses that name no class are served, too")
	f.StringVar(&check.AnnotationsPrefix, "annotations-prefix", "nginx.ingress.kubernetes.io", "prefix of the annotations")
	f.BoolVar(&check.Passthrough, "enable-ssl-passthrough", check.Passthrough, "whether the annotation ssl-passthrough is honoured")
	outputFlag(cmd, &output)
	return cmd
}
