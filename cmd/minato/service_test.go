package main

import (
	"errors"
	"testing"

	"github.com/spf13/cobra"
)

func TestOneService(t *testing.T) {
	parent, show := &cobra.Command{Use: "loadbalancer"}, &cobra.Command{Use: "show [NAMESPACE/]NAME"}
	parent.AddCommand(show)
	for _, c := range []struct {
		args            []string
		namespace, name string
		refused         string
	}{
		{[]string{"web"}, "default", "web", ""},
		{[]string{"kube-system/kube-dns"}, "kube-system", "kube-dns", ""},
		{nil, "", "", "name one Service: `loadbalancer show [NAMESPACE/]NAME`"},
		{[]string{"a", "b"}, "", "", "name one Service: `loadbalancer show [NAMESPACE/]NAME`"},
	} {
		namespace, name, err := oneService(show, c.args)
		if namespace != c.namespace || name != c.name || (err == nil) != (c.refused == "") || err != nil && (err.Error() != c.refused || !errors.As(err, new(usageError))) {
			t.Errorf("%q is %s/%s, %v", c.args, namespace, name, err)
		}
	}
}
