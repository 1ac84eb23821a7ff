package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"minato/internal/cluster"
)

func newMigrateCommand() *cobra.Command {
	var m cluster.Migrate
	var output string
	cmd := &cobra.Command{
		Use:   "migrate -f FILE",
		Short: "Print manifests that were written for an older Kubernetes in today's form",
		Long: `Objects of versions that Kubernetes no longer serves are converted to today's,
by the same functions by which a cluster takes them. Defaults that were others
then are written, and those that are the same are not. Comments stay with the
fields that stay. Everything else, kinds that are not known here among it, is
printed as it is.

Each change is told on standard error. No cluster is needed.

The exit status is 1 if a manifest can't be read, or if today's Kubernetes has
no form for an object, which is printed as it is.`,
		Example: `  minato migrate -f ingress.yaml > ingress-today.yaml
  minato migrate -f manifests/ -R -o json
  curl -s https://example.com/old.yaml | minato migrate -f - | kubectl apply -f -`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case len(m.Files) == 0:
				return usageError{errors.New("give manifests with -f; - is standard input")}
			case output != "yaml" && output != "json":
				return usageError{fmt.Errorf("-o %s: write yaml or json", output)}
			}
			m.JSON = output == "json"
			problems, err := m.Write(cmd.OutOrStdout(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if problems > 0 {
				return fmt.Errorf("today's Kubernetes has no form for %d of the objects", problems)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&m.Files, "filename", "f", nil, "manifests, or a directory of them; - is standard input; may be given several times")
	f.BoolVarP(&m.Recursive, "recursive", "R", false, "read directories in directories as well")
	f.StringVarP(&output, "output", "o", "yaml", "output format: yaml or json")
	return cmd
}
