package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// line is one line of output.
type line struct {
	at   time.Duration // since the command began
	text string
}

// Sizes are in pixels, for a font whose letters are 0.6 times as wide as high.
const (
	fontSize   = 14
	letter     = 8.43
	lineHeight = 19
	margin     = 16
	bar        = 30 // the window's bar
)

// longestGap is how long the picture waits at most for the next line.
const longestGap = 1500 * time.Millisecond

var escapes = regexp.MustCompile("\x1b\\[[0-9;]*m")

// draw writes the picture of a window in which title was typed.
func draw(w io.Writer, title string, printed []line) error {
	columns := utf8.RuneCountInString(title) + 2
	for _, l := range printed {
		columns = max(columns, utf8.RuneCountInString(escapes.ReplaceAllString(l.text, "")))
	}
	width := 2*margin + int(letter*float64(columns)) + 1
	height := bar + margin + lineHeight*(len(printed)+1) + margin/2
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`+"\n", width, height, width, height, escape(title))
	// Each line is there from its time on, and without animations from the start.
	b.WriteString(`<style>
text { font: ` + fmt.Sprint(fontSize) + `px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #d8dee9; white-space: pre }
.typed { fill: #a3be8c; font-weight: bold }
.later { animation: show 1ms backwards }
@keyframes show { from { opacity: 0 } }
@media (prefers-reduced-motion: reduce) { .later { animation: none } }
</style>
`)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" rx="8" fill="#20242d"/>`+"\n", width, height)
	for i, colour := range []string{"#bf616a", "#ebcb8b", "#a3be8c"} {
		fmt.Fprintf(&b, `<circle cx="%d" cy="%d" r="6" fill="%s"/>`+"\n", margin+6+20*i, bar/2+2, colour)
	}
	row := func(i int) int { return bar + margin + lineHeight*i + fontSize/2 }
	fmt.Fprintf(&b, `<text class="typed" x="%d" y="%d">$ %s</text>`+"\n", margin, row(0), escape(title))
	var shown, last time.Duration
	for i, l := range printed {
		shown += min(l.at-last, longestGap)
		last = l.at
		if text := escapes.ReplaceAllString(l.text, ""); strings.TrimSpace(text) != "" {
			fmt.Fprintf(&b, `<text class="later" style="animation-delay: %dms" x="%d" y="%d" xml:space="preserve">%s</text>`+"\n", shown.Milliseconds(), margin, row(i+1), escape(text))
		}
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func escape(text string) string {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(text)); err != nil {
		return "" // a strings.Builder takes everything
	}
	return b.String()
}
