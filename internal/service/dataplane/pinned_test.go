package dataplane

import (
	"testing"
)

// Another process finds the table of flows of a data plane that is open or was, and sees that another one has come.
func TestPinnedFlows(t *testing.T) {
	requireRoot(t)
	w := newWorld(t)
	p := &PinnedFlows{PinDir: t.TempDir(), Logger: discard()}
	defer p.Close()
	if p.Map() != nil || p.Changed() {
		t.Error("there is a table where there is no data plane")
	}
	p.PinDir = w.cfg.PinDir
	if !p.Changed() {
		t.Error("a table that has come is not seen")
	}
	same := func(when string) {
		t.Helper()
		is, err := p.Map().Info()
		if err != nil {
			t.Fatal(err)
		}
		want, err := w.dp.Flows().Info()
		if err != nil {
			t.Fatal(err)
		}
		got, _ := is.ID()
		if id, ok := want.ID(); !ok || got != id {
			t.Errorf("%s: table %d, want %d", when, got, id)
		}
		if p.Changed() {
			t.Errorf("%s: the table has changed, as it is said", when)
		}
	}
	same("at first")
	w.dp.Close()
	w.open()
	same("after a restart")
	w.dp.Close()
	if err := Remove(w.cfg); err != nil {
		t.Fatal(err)
	}
	if p.Changed() {
		t.Error("a table that has gone is taken for another one")
	}
	w.open()
	if !p.Changed() {
		t.Error("a new table is not seen")
	}
	same("after another one was made")
}
