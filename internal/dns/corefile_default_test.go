package dns

import (
	"reflect"
	"testing"
)

func TestDefaultCorefileChangesNothing(t *testing.T) {
	c, notes, err := ParseCorefile(DefaultCorefile("cluster.local"), "cluster.local")
	if err != nil || len(notes) > 0 {
		t.Fatalf("notes %q, %v", notes, err)
	}
	have, err := newPolicy(c, "cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	want, err := newPolicy(Config{}, "cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	have.config, want.config = Config{}, Config{}
	if !reflect.DeepEqual(have, want) {
		t.Errorf("the default Corefile makes\n%+v, not\n%+v", have, want)
	}
}
