package nginx

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// WriteJSON writes the report as JSON.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// Counts are how many items are honoured, differ and are refused in all.
func (r *Report) Counts() (honoured, differs, refused int) {
	for _, list := range [...][]CheckedObject{r.Ingresses, r.Settings} {
		for _, o := range list {
			for _, it := range o.Items {
				switch it.Support {
				case Honoured:
					honoured++
				case Differs:
					differs++
				case Refused:
					refused++
				}
			}
		}
	}
	return honoured, differs, refused
}

// WriteText writes the report for people: what is refused and what differs comes with its notes, what is honoured in one
// line for each.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, o := range r.Ingresses {
		fmt.Fprintf(&b, "Ingress %s/%s", o.Namespace, o.Name)
		if !o.Served {
			fmt.Fprintf(&b, ": not served: %s\n\n", o.Why)
			continue
		}
		fmt.Fprintf(&b, " (class %s)\n", o.Class)
		if o.Closed != "" {
			fmt.Fprintf(&b, "  All its paths answer 503: %s\n", o.Closed)
		}
		writeItems(&b, o.Items)
	}
	for _, o := range r.Settings {
		if o.Name == "" {
			b.WriteString("Flags\n")
		} else {
			fmt.Fprintf(&b, "ConfigMap %s/%s\n", o.Namespace, o.Name)
		}
		writeItems(&b, o.Items)
	}
	if len(r.Ingresses) == 0 {
		b.WriteString("There is no Ingress.\n\n")
	}
	honoured, differs, refused := r.Counts()
	fmt.Fprintf(&b, "%d honoured, %d different, %d refused\n", honoured, differs, refused)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

func writeItems(b *strings.Builder, items []Item) {
	if len(items) == 0 {
		b.WriteString("  nothing to check\n")
	}
	for _, it := range items {
		fmt.Fprintf(b, "  %-9s %s", it.Support, it.Field)
		if it.Value != "" {
			fmt.Fprintf(b, ": %s", oneLine(it.Value))
		}
		b.WriteByte('\n')
		for _, n := range it.Notes {
			fmt.Fprintf(b, "            %s\n", oneLine(n))
		}
	}
	b.WriteByte('\n')
}

// oneLine makes a value that was written in a manifest one line of a terminal, without what a terminal obeys.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
	return s
}
