package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// result is a scenario, or one row of an outline.
type result struct {
	feature, scenario string
	failure           string // empty if it passed
}

// feature is what is read of the suite's reports.
type feature struct {
	Name     string
	Elements []struct {
		Name, Type string
		Steps      []step
	}
}

type step struct {
	Name   string
	Result struct {
		Status string
		Error  string `json:"error_message"`
	}
}

// readReports reads the reports of all features.
func readReports(dir string) ([]result, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*-report.json"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var all []result
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		some, err := readReport(data)
		if err != nil {
			return nil, fmt.Errorf("read the suite's report %s: %w", file, err)
		}
		all = append(all, some...)
	}
	return all, nil
}

func readReport(data []byte) ([]result, error) {
	var features []feature
	if err := json.Unmarshal(data, &features); err != nil {
		return nil, err
	}
	var all []result
	for _, f := range features {
		for _, e := range f.Elements {
			if e.Type == "background" {
				continue
			}
			r := result{feature: f.Name, scenario: e.Name}
			for _, s := range e.Steps {
				// What follows a step that failed is skipped; a step that is not defined, or pending, is no success either.
				if s.Result.Status != "passed" {
					r.failure = strings.TrimSpace(s.Name + ": " + s.Result.Status + " " + s.Result.Error)
					break
				}
			}
			if len(e.Steps) == 0 {
				r.failure = "it has no steps"
			}
			all = append(all, r)
		}
	}
	return all, nil
}

// print lists the scenarios and sums them up; it is an error if any failed, or if none ran.
func print(out io.Writer, all []result) error {
	failed := 0
	for _, r := range all {
		state := "passed"
		if r.failure != "" {
			state = "failed"
			failed++
		}
		fmt.Fprintf(out, "%s  %s: %s\n", state, r.feature, r.scenario)
		if r.failure != "" {
			fmt.Fprintf(out, "        %s\n", r.failure)
		}
	}
	fmt.Fprintf(out, "\n%d passed, %d failed\n", len(all)-failed, failed)
	switch {
	case failed > 0:
		return fmt.Errorf("%d scenarios failed", failed)
	case len(all) == 0:
		return errors.New("no scenario ran")
	}
	return nil
}
