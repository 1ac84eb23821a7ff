package rules

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// chapter is what a README has under one heading and needs no translation.
type chapter struct {
	heading  string
	level    int
	commands []string // lines of code blocks, without comments
	code     []string // in the text
	links    []string
	numbers  []string // in the text and in tables
}

var (
	inlineCode = regexp.MustCompile("`([^`]+)`")
	linkTarget = regexp.MustCompile(`\]\(([^)]+)\)`)
	number     = regexp.MustCompile(`\d+(?:[.,]\d+)*`)
	comment    = regexp.MustCompile(`(^|\s+)#.*$`)
)

// chapters takes a README apart. Code blocks are those between ``` and those
// that are indented by four spaces after an empty line.
func chapters(text string) []*chapter {
	now := &chapter{heading: "(before the first heading)"}
	all := []*chapter{now}
	fenced, empty, indented := false, true, false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n ")
		indented = !fenced && strings.HasPrefix(line, "    ") && (empty || indented)
		empty = line == ""
		switch {
		case strings.HasPrefix(line, "```"):
			fenced = !fenced
		case fenced, indented:
			if command := comment.ReplaceAllString(line, ""); command != "" {
				now.commands = append(now.commands, strings.TrimSpace(command))
			}
		case strings.HasPrefix(line, "#"):
			title := strings.TrimLeft(line, "#")
			now = &chapter{heading: strings.TrimSpace(title), level: len(line) - len(title)}
			all = append(all, now)
		default:
			for _, m := range inlineCode.FindAllStringSubmatch(line, -1) {
				now.code = append(now.code, m[1])
			}
			for _, m := range linkTarget.FindAllStringSubmatch(line, -1) {
				now.links = append(now.links, m[1])
			}
			line = linkTarget.ReplaceAllString(inlineCode.ReplaceAllString(line, ""), "")
			now.numbers = append(now.numbers, number.FindAllString(line, -1)...)
		}
	}
	return all
}

// lacking lists, as text, what of want is not in got as often.
func lacking(want, got []string) []string {
	left := slices.Clone(got)
	var missing []string
	for _, w := range want {
		if at := slices.Index(left, w); at >= 0 {
			left = slices.Delete(left, at, at+1)
		} else {
			missing = append(missing, w)
		}
	}
	return missing
}

// What the two READMEs have to have in common, chapter by chapter.
func differences(english, japanese []*chapter) []string {
	var out []string
	for i := range max(len(english), len(japanese)) {
		switch {
		case i >= len(japanese):
			out = append(out, fmt.Sprintf("README.ja.md lacks the chapter %q of README.md: translate it, to the place that it has there", english[i].heading))
			continue
		case i >= len(english):
			out = append(out, fmt.Sprintf("README.ja.md has the chapter %q, which README.md has not: take it away there, or write it here in English", japanese[i].heading))
			continue
		case english[i].level != japanese[i].level:
			out = append(out, fmt.Sprintf("heading %d is %q with %d # in README.md and %q with %d # in README.ja.md: both have the same chapters in the same order", i, english[i].heading, english[i].level, japanese[i].heading, japanese[i].level))
			continue
		}
		e, j := english[i], japanese[i]
		where := fmt.Sprintf("chapter %q of README.md, %q of README.ja.md", e.heading, j.heading)
		for _, kind := range []struct {
			name              string
			english, japanese []string
		}{
			{"the command or the output", e.commands, j.commands},
			{"the code", e.code, j.code},
			{"the link", e.links, j.links},
			{"the number", e.numbers, j.numbers},
		} {
			for _, what := range lacking(kind.english, kind.japanese) {
				out = append(out, fmt.Sprintf("%s: %s %q is in README.md only: translate the sentence or the line that has it", where, kind.name, what))
			}
			for _, what := range lacking(kind.japanese, kind.english) {
				out = append(out, fmt.Sprintf("%s: %s %q is in README.ja.md only: README.md says something else now, translate that", where, kind.name, what))
			}
		}
		if len(out) == 0 && !slices.Equal(e.commands, j.commands) {
			out = append(out, where+": the commands are not in the same order")
		}
	}
	return out
}

// The Japanese README says what the English one does: the same chapters,
// commands, links and figures.
func TestReadmesAreEqual(t *testing.T) {
	read := func(name string) []*chapter {
		data, err := os.ReadFile("../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		all := chapters(string(data))
		all[1].links = slices.DeleteFunc(all[1].links, func(l string) bool { return l == "README.md" || l == "README.ja.md" })
		return all
	}
	for _, d := range differences(read("README.md"), read("README.ja.md")) {
		t.Error(d)
	}
}

func TestReadmeDifferences(t *testing.T) {
	const english = "# A\n\nSee `x` and [b](b.md), 3 s.\n\n    run it   # how\n\n## B\n\n```\nout 1\n```\n"
	for _, c := range []struct {
		name, japanese string
		want           []string // parts of messages, one for each message
	}{
		{"equal", "# あ\n\n`x`、[び](b.md)、3 s。\n\n    run it   # こう\n\n## い\n\n```\nout 1\n```\n", nil},
		{"a chapter", "# あ\n\n`x`、[び](b.md)、3 s。\n\n    run it\n", []string{`lacks the chapter "B"`}},
		{"a level", "# あ\n\n`x`、[び](b.md)、3 s。\n\n    run it\n\n# い\n\n```\nout 1\n```\n", []string{"heading 2 is"}},
		{"a command", "# あ\n\n`x`、[び](b.md)、3 s。\n\n    run that\n\n## い\n\n```\nout 1\n```\n", []string{`"run it" is in README.md only`, `"run that" is in README.ja.md only`}},
		{"a number", "# あ\n\n`x`、[び](b.md)、4 s。\n\n    run it\n\n## い\n\n```\nout 1\n```\n", []string{`"3" is in README.md only`, `"4" is in README.ja.md only`}},
		{"a link", "# あ\n\n`x`、び、3 s。\n\n    run it\n\n## い\n\n```\nout 1\n```\n", []string{`the link "b.md"`}},
	} {
		got := differences(chapters(english), chapters(c.japanese))
		if len(got) != len(c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
			continue
		}
		for i := range got {
			if !strings.Contains(got[i], c.want[i]) {
				t.Errorf("%s: got %q, want %q", c.name, got[i], c.want[i])
			}
		}
	}
}
