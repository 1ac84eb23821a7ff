package main

import (
	"io"
	"testing"
)

func TestReport(t *testing.T) {
	const passed, failed, pending = `{"name": "a step", "result": {"status": "passed"}}`,
		`{"name": "a step", "result": {"status": "failed", "error_message": "no"}}`, `{"name": "a step", "result": {"status": "pending"}}`
	for _, c := range []struct {
		elements, failure string
		count             int
	}{
		{`{"name": "one", "type": "scenario", "steps": [` + passed + `,` + passed + `]}`, "", 1},
		{`{"name": "one", "type": "scenario", "steps": [` + passed + `,` + failed + `,` + passed + `]}`, "a step: failed no", 1},
		{`{"name": "one", "type": "scenario", "steps": [` + pending + `]}`, "a step: pending", 1},
		{`{"name": "one", "type": "scenario", "steps": []}`, "it has no steps", 1},
		{`{"name": "", "type": "background", "steps": [` + failed + `]}`, "", 0},
	} {
		all, err := readReport([]byte(`[{"name": "a feature", "elements": [` + c.elements + `]}]`))
		if err != nil {
			t.Fatal(err)
		}
		if len(all) != c.count || c.count > 0 && all[0].failure != c.failure {
			t.Errorf("%s: %+v, want %d with the failure %q", c.elements, all, c.count, c.failure)
		}
		if err := print(io.Discard, all); (err != nil) != (c.failure != "" || c.count == 0) {
			t.Errorf("%s: %v", c.elements, err)
		}
	}
}
