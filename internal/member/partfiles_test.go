package member

import (
	"errors"
	"strings"
	"testing"

	utilexec "k8s.io/utils/exec"

	agent "minato/internal/node"
)

func TestFilesOfAPart(t *testing.T) {
	f := partFiles{"/var/lib/kube-proxy/config.conf": "kind: X\n", "/b": "b\n"}
	for _, test := range []struct {
		command   []string
		terminal  bool
		out, errs string
		code      int
	}{
		{[]string{"cat", "/var/lib/kube-proxy/config.conf", "/b"}, false, "kind: X\nb\n", "", 0},
		{[]string{"cat", "/b"}, true, "b\r\n", "", 0},
		{[]string{"cat", "/etc/shadow"}, false, "", "there are /b and /var/lib/kube-proxy/config.conf", 1},
		{[]string{"cat", "/b/../etc/shadow"}, false, "", "no such file", 1},
		{[]string{"sh"}, false, "", "can't be run here", 126},
		{nil, false, "", "can't be run here", 126},
	} {
		var out, errs strings.Builder
		err := f.exec(t.Context(), agent.PartExec{Command: test.command, Out: &out, Err: &errs, Terminal: test.terminal})
		var exit utilexec.ExitError
		code := 0
		if errors.As(err, &exit) {
			code = exit.ExitStatus()
		}
		if out.String() != test.out || !strings.Contains(errs.String(), test.errs) || code != test.code {
			t.Errorf("%q: %q, %q, %v", test.command, out.String(), errs.String(), err)
		}
	}
	if err := f.exec(t.Context(), agent.PartExec{Command: []string{"sh"}}); err == nil {
		t.Error("a command without streams is not refused")
	}
}
