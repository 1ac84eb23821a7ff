package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// report is what is read of Ginkgo's.
type report struct {
	SpecReports []spec
}

type spec struct {
	ContainerHierarchyTexts []string
	LeafNodeType            string
	LeafNodeText            string
	State                   string
	NumAttempts             int
	RunTime                 time.Duration
	Failure                 struct{ Message string }
}

func (s spec) name() string {
	if s.LeafNodeText == "" {
		return s.LeafNodeType
	}
	return strings.Join(append(slices.Clone(s.ContainerHierarchyTexts), s.LeafNodeText), " ")
}

// ran tells whether it was among those asked for.
func (s spec) ran() bool { return s.LeafNodeType == "It" && s.NumAttempts > 0 }

func readReport(path string) (report, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return report{}, fmt.Errorf("the suite left no report: %w", err)
	}
	var suites []report
	if err := json.Unmarshal(data, &suites); err != nil {
		return report{}, fmt.Errorf("read the suite's report %s: %w", path, err)
	}
	var all report
	for _, s := range suites {
		all.SpecReports = append(all.SpecReports, s.SpecReports...)
	}
	return all, nil
}

// print lists the specs and sums them up; it is an error if any failed, or if none ran.
func (r report) print(out io.Writer) error {
	specs := slices.Clone(r.SpecReports)
	slices.SortStableFunc(specs, func(a, b spec) int { return strings.Compare(a.name(), b.name()) })
	passed, failed, skipped := 0, 0, 0
	for _, s := range specs {
		switch {
		case s.LeafNodeType != "It":
			if s.State == "passed" || s.State == "skipped" {
				continue
			}
			failed++ // of the suite's own beginning and end
		case !s.ran():
			continue
		case s.State == "passed":
			passed++
		case s.State == "skipped":
			skipped++
		default:
			failed++
		}
		fmt.Fprintf(out, "%-9s %6.1f s  %s\n", s.State, s.RunTime.Seconds(), s.name())
		if s.State != "passed" && s.Failure.Message != "" {
			fmt.Fprintf(out, "          %s\n", firstLine(s.Failure.Message))
		}
	}
	fmt.Fprintf(out, "\n%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	switch {
	case failed > 0:
		return fmt.Errorf("%d specs failed", failed)
	case passed == 0:
		return errors.New("no spec passed; does any match -focus?")
	}
	return nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}
