package main

import "testing"

func TestIdentifiers(t *testing.T) {
	for variable, want := range map[string]bool{
		"PATH=/bin": true, "_a9=x-y": true, "EMPTY=": true, "data-1=x": false, "a.b=x": false, "1a=x": false, "a b=x": false,
	} {
		if got := identifiers([]string{"HOME=/", variable}); got != want {
			t.Errorf("%s: %v", variable, got)
		}
	}
}
