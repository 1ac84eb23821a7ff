package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"strings"
)

// spec is one spec of the suite's report.
type spec struct {
	Name    string `xml:"name,attr"`
	Status  string `xml:"status,attr"`
	Failure *struct {
		Message string `xml:"message,attr"`
	} `xml:"failure"`
	Error *struct {
		Message string `xml:"message,attr"`
	} `xml:"error"`
	Skipped *struct {
		Message string `xml:"message,attr"`
	} `xml:"skipped"`
}

// isSpec tells specs from what is run before and after them all.
func (s *spec) isSpec() bool { return strings.HasPrefix(s.Name, "[It] ") }

func (s *spec) name() string { return strings.TrimPrefix(s.Name, "[It] ") }

func (s *spec) failed() (message string, is bool) {
	switch {
	case s.Failure != nil:
		return s.Failure.Message, true
	case s.Error != nil:
		return s.Error.Message, true
	}
	return "", false
}

func read(file string) ([]spec, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the suite's report: %w", err)
	}
	var report struct {
		Suites []struct {
			Specs []spec `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(b, &report); err != nil {
		return nil, fmt.Errorf("the suite's report: %w", err)
	}
	var all []spec
	for _, s := range report.Suites {
		all = append(all, s.Specs...)
	}
	return all, nil
}

// judge prints what came of the specs. With all, an exception that the suite does
// not have, or that passes, is an error too.
func judge(specs []spec, all bool) error {
	known := exceptions()
	met := map[string]bool{}
	var passed, excepted, skipped int
	var failed []error
	for i := range specs {
		s := &specs[i]
		message, wrong := s.failed()
		reason, expected := known[s.name()]
		met[s.name()] = true
		switch {
		case wrong && expected:
			excepted++
			fmt.Printf("excepted  %s\n          %s\n", s.name(), reason)
		case wrong:
			failed = append(failed, fmt.Errorf("%s fails: %s", s.name(), strings.Join(strings.Fields(message), " ")))
		case !s.isSpec():
		case s.Skipped != nil:
			if s.Skipped.Message != "skipped" || all {
				skipped++
				fmt.Printf("skipped   %s: %s\n", s.name(), s.Skipped.Message)
			}
		default:
			passed++
			if expected {
				failed = append(failed, fmt.Errorf("%s passes, and is among the exceptions", s.name()))
			}
		}
	}
	for name := range known {
		if all && !met[name] {
			failed = append(failed, fmt.Errorf("%s is among the exceptions, and not in the suite", name))
		}
	}
	fmt.Printf("%d specs passed, %d excepted, %d skipped, %d failed\n", passed, excepted, skipped, len(failed))
	if passed == 0 {
		failed = append(failed, errors.New("no spec has passed"))
	}
	return errors.Join(failed...)
}
