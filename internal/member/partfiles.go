package member

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	utilexec "k8s.io/utils/exec"

	agent "minato/internal/node"
)

// partFiles are the files that one finds in a part's Pod in other clusters, by their
// paths. `cat` shows them; there is no other program.
type partFiles map[string]string

// exec implements agent.Part.Exec.
func (f partFiles) exec(_ context.Context, e agent.PartExec) error {
	out, complaints := e.Out, e.Err
	if out == nil {
		out = io.Discard
	}
	if complaints == nil {
		complaints = out
	}
	fail := func(code int, format string, args ...any) error {
		err := fmt.Errorf(format, args...)
		fmt.Fprintln(complaints, err)
		return utilexec.CodeExitError{Err: err, Code: code}
	}
	if len(e.Command) < 2 || e.Command[0] != "cat" {
		return fail(126, "%q can't be run here: this Pod shows a part of Minato's own process, of which `cat` can show %s", strings.Join(e.Command, " "), f)
	}
	for _, name := range e.Command[1:] {
		text, ok := f[name]
		if !ok {
			return fail(1, "cat: %s: there is no such file here; there are %s", name, f)
		}
		if e.Terminal {
			text = strings.ReplaceAll(text, "\n", "\r\n")
		}
		if _, err := io.WriteString(out, text); err != nil {
			return err
		}
	}
	return nil
}

// String lists the files.
func (f partFiles) String() string { return strings.Join(slices.Sorted(maps.Keys(f)), " and ") }
