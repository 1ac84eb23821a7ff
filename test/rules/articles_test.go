package rules

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	articleScripts = "../../test/e2e/testdata/articles"
	articleIndex   = "../../docs/articles.md"
	articleEnglish = "# The five articles on Minato"
)

// part is one section of one article.
type part struct{ article, heading string }

// row is what the index says of one section: which scripts show it.
type row struct {
	part
	scripts []string
}

var (
	articleHeading = regexp.MustCompile(`^## (\d{3}) `)
	sectionLine    = regexp.MustCompile(`^section (\d{3}) (?:'([^']*)'|(\S+))$`)
	quoted         = regexp.MustCompile("`([^`]+)`")
)

// indexRows reads one half of the index. A section's heading ends at <br>, after
// which its translation may follow.
func indexRows(t *testing.T, text string) []row {
	t.Helper()
	var rows []row
	article := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if m := articleHeading.FindStringSubmatch(line); m != nil {
			article = m[1]
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), " | ")
		if article == "" || !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|--") || strings.HasSuffix(strings.TrimSpace(cells[0]), "節") || strings.TrimSpace(cells[0]) == "Section" {
			continue
		}
		if len(cells) < 3 {
			t.Errorf("docs/articles.md: %s\nhas %d cells; want the section, what to type, the scripts, and what changed", line, len(cells))
			continue
		}
		heading, _, _ := strings.Cut(strings.TrimSpace(cells[0]), "<br>")
		r := row{part: part{article, heading}}
		for _, m := range quoted.FindAllStringSubmatch(cells[2], -1) {
			r.scripts = append(r.scripts, m[1])
		}
		if len(r.scripts) == 0 && strings.TrimSpace(cells[2]) != "—" {
			t.Errorf("docs/articles.md: %s, %q names no script that shows it; a section in which nothing is typed has — there", r.article, r.heading)
		}
		rows = append(rows, r)
	}
	return rows
}

// scriptSections reads which sections each script shows.
func scriptSections(t *testing.T) map[string]map[part]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(articleScripts, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no scripts: %v", articleScripts, err)
	}
	scripts := map[string]map[part]bool{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		scripts[name] = map[part]bool{}
		for line := range strings.Lines(string(data)) {
			if m := sectionLine.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
				scripts[name][part{m[1], m[2] + m[3]}] = true
			}
		}
		if len(scripts[name]) == 0 {
			t.Errorf("%s: no line of the form: section ARTICLE 'HEADING'", file)
		}
	}
	return scripts
}

// The index names every script and every section that a script shows, in both
// languages, and nothing that is not there.
func TestIndexOfArticles(t *testing.T) {
	data, err := os.ReadFile(articleIndex)
	if err != nil {
		t.Fatal(err)
	}
	japanese, english, found := strings.Cut(string(data), "\n"+articleEnglish+"\n")
	if !found {
		t.Fatalf("docs/articles.md has no heading %q, which its English half begins with", articleEnglish)
	}
	inJapanese, inEnglish := indexRows(t, japanese), indexRows(t, english)
	for i := range max(len(inJapanese), len(inEnglish)) {
		switch {
		case i >= len(inJapanese):
			t.Fatalf("docs/articles.md: %v is in the English half only; write its row in Japanese", inEnglish[i])
		case i >= len(inEnglish):
			t.Fatalf("docs/articles.md: %v is in the Japanese half only; write its row in English", inJapanese[i])
		case inJapanese[i].part != inEnglish[i].part || !slices.Equal(inJapanese[i].scripts, inEnglish[i].scripts):
			t.Fatalf("docs/articles.md: the halves differ: %v in Japanese, %v in English; both list the same sections and scripts in the same order", inJapanese[i], inEnglish[i])
		}
	}
	scripts := scriptSections(t)
	listed := map[string]map[part]bool{}
	for _, r := range inJapanese {
		for _, name := range r.scripts {
			if scripts[name] == nil {
				t.Errorf("docs/articles.md: %s, %q names the script %s, which is not in %s", r.article, r.heading, name, articleScripts)
				continue
			}
			if !scripts[name][r.part] {
				t.Errorf("docs/articles.md: %s, %q names the script %s, which has no line: section %s '%s'", r.article, r.heading, name, r.article, r.heading)
			}
			if listed[name] == nil {
				listed[name] = map[part]bool{}
			}
			listed[name][r.part] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(scripts)) {
		for p := range scripts[name] {
			if !listed[name][p] {
				t.Errorf("%s.txtar shows %s, %q; docs/articles.md does not list it there", name, p.article, p.heading)
			}
		}
	}
}
