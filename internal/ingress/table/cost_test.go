package table

import (
	"fmt"
	"testing"
)

// A match allocates nothing, wherever it ends.
func TestMatchAllocatesNothing(t *testing.T) {
	table := build(ing("a", 1, "h P /foo s", "h E /bar s", "*.io P / s", "h.www P / s").with(toWWW), ing("r", 1, "r I /app(/|$)(.*) s").with(rewrite("/$2")), ing("x", 1, "- P /any s"))
	var m Match
	for _, url := range [][2]string{{"h", "/foo/x/y/z"}, {"h:8080", "/bar"}, {"h.", "/none"}, {"x.io", "/"}, {"www.h.www", "/"}, {"r", "/app/x"}, {"r", "/none"}, {"none.example.com", "/any"}} {
		table.Match(url[0], url[1], &m) // the buffer of captures is made once
		if n := testing.AllocsPerRun(100, func() { table.Match(url[0], url[1], &m) }); n > 0 {
			t.Errorf("%s%s: %v allocations", url[0], url[1], n)
		}
	}
}

// An edit makes as many things anew at 4,000 routes as at 40.
func TestEditsCostWhatTheyTouch(t *testing.T) {
	for name, line := range map[string]string{"paths": "www.example.com P /new s%d:80", "hosts": "new.example.com P / s%d:80"} {
		cost := func(n int) float64 {
			b := NewBuilder()
			for i := range n {
				b.Set(ing(fmt.Sprintf("p%d", i), i, fmt.Sprintf("www.example.com P /app-%d/x s%d:80", i, i%10)))
				b.Set(ing(fmt.Sprintf("h%d", i), i, fmt.Sprintf("app-%d.example.com P / s%d:80", i, i%10)))
			}
			b.Table()
			i := 0
			return testing.AllocsPerRun(20, func() {
				i++
				b.Set(ing("new", 0, fmt.Sprintf(line, i%2)))
				b.Table()
			})
		}
		if few, many := cost(20), cost(2000); many > 1.5*few {
			t.Errorf("%s: an edit makes %v allocations at 40 routes and %v at 4,000", name, few, many)
		}
	}
}
