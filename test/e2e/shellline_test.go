package e2e

import "testing"

func TestShellLine(t *testing.T) {
	for _, c := range []struct {
		words []string
		want  string
	}{
		{[]string{"kubectl", "get", "pods", "-A"}, "kubectl get pods -A"},
		{[]string{"kubectl", "get", "pods", "|", "grep", "-i", "image of"}, "kubectl get pods | grep -i 'image of'"},
		{[]string{"kubectl", "get", "pv", `-o=jsonpath={.items[*]}{"\n"}`}, `kubectl get pv '-o=jsonpath={.items[*]}{"\n"}'`},
		{[]string{"KUBE_EDITOR=sed -i s/a/b/", "kubectl", "edit", "pod", "p"}, "KUBE_EDITOR='sed -i s/a/b/' kubectl edit pod p"},
		{[]string{"kubectl", "annotate", "pod", "p", "A=b c"}, "kubectl annotate pod p 'A=b c'"},
		{[]string{"echo", "it's", ">", "f", "&&", "N=1", "env"}, `echo 'it'\''s' > f && N=1 env`},
		{[]string{"echo", "", "*"}, "echo '' '*'"},
	} {
		if got := shellLine(c.words); got != c.want {
			t.Errorf("%q: got %s, want %s", c.words, got, c.want)
		}
	}
}
