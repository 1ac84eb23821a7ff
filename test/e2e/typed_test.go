package e2e

import (
	"bytes"
	"errors"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// operators are the words of a typed line that are the shell's.
var operators = map[string]bool{"|": true, ">": true, ">>": true, "<": true, "2>&1": true, "&&": true, "||": true, ";": true}

var (
	assignment = regexp.MustCompile(`^[A-Z_]+=`)
	plain      = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./*-]+$`)
)

// shellLine joins the words of a line as a reader types them: words that a
// shell would not take as they are get quotes, and operators and leading
// assignments keep their meaning.
func shellLine(words []string) string {
	var line []string
	leading := true
	for _, word := range words {
		switch name := assignment.FindString(word); {
		case operators[word]:
			leading = true
			line = append(line, word)
			continue
		case leading && name != "":
			line = append(line, name+shellWord(word[len(name):]))
			continue
		default:
			line = append(line, shellWord(word))
		}
		leading = false
	}
	return strings.Join(line, " ")
}

func shellWord(word string) string {
	if plain.MatchString(word) && !strings.Contains(word, "*") {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// typedLine is the command "$": $ COMMAND ARG... runs a line as a reader of an
// article types it, pipes and redirections too, for `stdout` and `stderr` to
// look at.
func typedLine(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 1 {
		ts.Fatalf("usage: $ COMMAND ARG... (one line, as it is typed)")
	}
	line := shellLine(args)
	var stdout, stderr, both bytes.Buffer
	cmd := command(ts, "/bin/sh", "-c", line)
	cmd.Stdout = &tee{&stdout, &both}
	cmd.Stderr = &tee{&stderr, &both}
	began := time.Now()
	err := cmd.Run()
	took := time.Since(began)
	ts.Stdout().Write(stdout.Bytes())
	ts.Stderr().Write(stderr.Bytes())
	transcriptOf(ts).command(line, both.String(), err, took)
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%s: %v", line, err)
	}
	switch {
	case err != nil && !neg:
		ts.Fatalf("%s: %v", line, err)
	case err == nil && neg:
		ts.Fatalf("%s succeeded; want it to fail", line)
	}
}

// tee writes to both.
type tee struct{ one, other *bytes.Buffer }

func (t *tee) Write(p []byte) (int, error) {
	t.one.Write(p)
	return t.other.Write(p)
}

// section ARTICLE HEADING: what follows is that section of that article.
// docs/articles.md lists each.
func section(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: section ARTICLE HEADING")
	}
	transcriptOf(ts).section(args[0], args[1])
}
