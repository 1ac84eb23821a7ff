package compat

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of kinds to docs/old-apis.md")

// TestTable keeps the table of the page for users.
func TestTable(t *testing.T) {
	const path = "../../../docs/old-apis.md"
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "-update` -->\n", "<!-- end of kinds -->"
	before, rest, ok := strings.Cut(string(data), begin)
	table, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no place for the table of kinds", path)
	}
	want := tableOfKinds()
	if table == want {
		return
	}
	if !*update {
		t.Fatalf("the table of kinds in %s is\n%s\nwant\n%s", path, table, want)
	}
	if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

func tableOfKinds() string {
	type row struct{ kind, old, today string }
	var rows []row
	all := append(slices.Clone(kinds), kind{kind: definition.kind, today: definition.today.String(), old: []string{definition.old.String()}})
	for _, k := range all {
		old := "`" + strings.Join(k.old, "`, `") + "`"
		i := slices.IndexFunc(rows, func(r row) bool { return r.old == old && r.today == k.today })
		if i < 0 {
			rows = append(rows, row{k.kind, old, k.today})
			continue
		}
		rows[i].kind += ", " + k.kind
	}
	var b strings.Builder
	b.WriteString("| Kind | Old versions | Today's |\n|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | `%s` |\n", r.kind, r.old, r.today)
	}
	return b.String()
}
