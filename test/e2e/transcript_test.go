package e2e

import (
	"errors"
	"fmt"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// transcriptKey is where a script's environment has the transcript.
type transcriptKey struct{}

// transcript is what a reader of the articles sees: each line that is typed,
// what it prints, and how long it takes. Without a file it writes nothing.
type transcript struct {
	file    *os.File
	article string
	total   map[string]*tally // by article
	err     error
}

type tally struct {
	commands int
	took     time.Duration
}

// newTranscript begins a transcript; without a path, one that is not written.
func newTranscript(path string) (*transcript, error) {
	t := &transcript{total: map[string]*tally{}}
	if path == "" {
		return t, nil
	}
	var err error
	t.file, err = os.Create(path)
	return t, err
}

func transcriptOf(ts *testscript.TestScript) *transcript {
	return ts.Value(transcriptKey{}).(*transcript)
}

func (t *transcript) printf(format string, args ...any) {
	if t.file == nil || t.err != nil {
		return
	}
	_, t.err = fmt.Fprintf(t.file, format, args...)
}

// script begins the next script. Until its first section no article is known.
func (t *transcript) script(name string) {
	t.article = ""
	t.printf("\n%s\n%s\n", name, strings.Repeat("=", len(name)))
}

func (t *transcript) section(article, heading string) {
	t.article = article
	t.printf("\n## %s: %s\n", article, heading)
}

// command notes one line, what it printed, how it ended and how long it took.
func (t *transcript) command(line, printed string, err error, took time.Duration) {
	if t.file == nil {
		return
	}
	sum := t.total[t.article]
	if sum == nil {
		sum = &tally{}
		t.total[t.article] = sum
	}
	sum.commands++
	sum.took += took
	if printed != "" && !strings.HasSuffix(printed, "\n") {
		printed += "\n"
	}
	t.printf("\n[%6.2f s] $ %s\n%s", took.Seconds(), line, printed)
	if err != nil {
		t.printf("(%v)\n", err)
	}
}

// close ends the transcript with what each article took.
func (t *transcript) close() error {
	if t.file == nil {
		return nil
	}
	t.printf("\nWhat each article took\n======================\n\n")
	var articles []string
	for a := range t.total {
		articles = append(articles, a)
	}
	sort.Strings(articles)
	for _, a := range articles {
		name := a
		if name == "" {
			name = "clusters and images"
		}
		t.printf("%s: %d commands, %.1f s\n", name, t.total[a].commands, t.total[a].took.Seconds())
	}
	return errors.Join(t.err, t.file.Close())
}
