package e2e

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
)

// TestMain lists the scripts that failed once more at the very end: a log that
// is only kept by its last lines still says which they are, and at which line.
func TestMain(m *testing.M) {
	code := m.Run()
	failed.writeTo(os.Stdout)
	os.Exit(code)
}

// failed has the scripts of this run that failed.
var failed failures

type failures struct {
	mu    sync.Mutex
	lines []string
}

// add notes a script by its test's name. log is what the script printed, of
// which the last line that begins with FAIL says why.
func (f *failures) add(name, log string) {
	reason := "see its log above"
	for line := range strings.Lines(log) {
		if r, ok := strings.CutPrefix(strings.TrimSpace(line), "FAIL: "); ok {
			reason = r
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lines = append(f.lines, fmt.Sprintf("failed: %s: %s", name, reason))
}

func (f *failures) writeTo(w io.Writer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, line := range f.lines {
		fmt.Fprintln(w, line)
	}
}

func TestFailuresNameTheScriptAndItsLine(t *testing.T) {
	var f failures
	f.add("TestScripts/nodes", "# add a node\n> exec minato node add\nFAIL: testdata/nodes.txtar:12: unexpected command failure\n")
	f.add("TestScripts/setup", "")
	var out strings.Builder
	f.writeTo(&out)
	want := "failed: TestScripts/nodes: testdata/nodes.txtar:12: unexpected command failure\n" +
		"failed: TestScripts/setup: see its log above\n"
	if out.String() != want {
		t.Errorf("the summary is\n%s\nwant\n%s", out.String(), want)
	}
}
