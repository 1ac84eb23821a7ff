package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// report is what is read of Ginkgo's.
type report struct {
	PreRunStats struct{ SpecsThatWillRun int }
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
		all = all.with(s)
	}
	return all, nil
}

// with is both reports in one.
func (r report) with(other report) report {
	r.PreRunStats.SpecsThatWillRun += other.PreRunStats.SpecsThatWillRun
	r.SpecReports = slices.Concat(r.SpecReports, other.SpecReports)
	return r
}

// sums counts specs by what became of them.
type sums struct{ passed, failed, skipped int }

func (s *sums) add(state string) {
	switch state {
	case "passed":
		s.passed++
	case "skipped":
		s.skipped++
	default:
		s.failed++
	}
}

// told are the specs that count: those that ran, and of the suite's own beginning
// and end what failed.
func (r report) told() []spec {
	out := slices.DeleteFunc(slices.Clone(r.SpecReports), func(s spec) bool {
		if s.LeafNodeType != "It" {
			return s.State == "passed" || s.State == "skipped"
		}
		return !s.ran()
	})
	slices.SortStableFunc(out, func(a, b spec) int { return strings.Compare(a.name(), b.name()) })
	return out
}

// printSpecs lists the specs.
func (r report) printSpecs(out io.Writer) {
	for _, s := range r.told() {
		fmt.Fprintf(out, "%-9s %6.1f s  %s\n", s.State, s.RunTime.Seconds(), s.name())
		if s.State != "passed" && s.Failure.Message != "" {
			fmt.Fprintf(out, "          %s\n", firstLine(s.Failure.Message))
		}
	}
}

// printSums sums the specs up by SIG; it is an error if any failed, was not come to, or if none ran.
func (r report) printSums(out io.Writer) error {
	var all sums
	bySIG := map[string]*sums{}
	ran := 0
	for _, s := range r.told() {
		if s.LeafNodeType == "It" {
			ran++
		}
		sig := s.sig()
		if bySIG[sig] == nil {
			bySIG[sig] = &sums{}
		}
		bySIG[sig].add(s.State)
		all.add(s.State)
	}
	fmt.Fprintf(out, "\n%-24s %7s %7s %7s\n", "", "passed", "failed", "skipped")
	for _, sig := range slices.Sorted(maps.Keys(bySIG)) {
		fmt.Fprintf(out, "%-24s %7d %7d %7d\n", sig, bySIG[sig].passed, bySIG[sig].failed, bySIG[sig].skipped)
	}
	fmt.Fprintf(out, "\n%d passed, %d failed, %d skipped\n", all.passed, all.failed, all.skipped)
	left := r.PreRunStats.SpecsThatWillRun - ran
	switch {
	case left > 0:
		return fmt.Errorf("the run ended before %d of the specs were come to, and %d failed", left, all.failed)
	case all.failed > 0:
		return fmt.Errorf("%d specs failed", all.failed)
	case all.passed == 0:
		return errors.New("no spec passed; does any match -focus?")
	}
	return nil
}

// sig is the group of Kubernetes that a spec belongs to.
func (s spec) sig() string {
	if _, after, found := strings.Cut(s.name(), "[sig-"); found {
		if name, _, closed := strings.Cut(after, "]"); closed {
			return "sig-" + name
		}
	}
	return "the suite itself"
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}
