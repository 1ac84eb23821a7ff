package packed

import (
	"errors"
	"maps"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
)

// TestReplace is for a watch that could not go on: a new list tells what was missed, and of nothing else.
func TestReplace(t *testing.T) {
	s := New(fake.NewClientset())
	f := &follower{told: map[types.NamespacedName]int{}}
	synced, stop, err := s.Follow(f.changed)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.services.Replace([]any{testService("a", "10.96.0.1"), testService("b", "10.96.0.2"), testService("c", "10.96.0.3"), testService("d", "10.96.0.4")}, "1"))
	if cache.IsDone(synced[1]) || !cache.IsDone(synced[0]) {
		t.Error("done without slices, or not done with Services")
	}
	at := "2026-01-02T03:04:05Z"
	must(s.slices.Replace([]any{
		triggered(testSlice("a-1", "a", "10.244.1.1"), at), testSlice("b-1", "b", "10.244.1.2"), testSlice("b-2", "b", "10.244.1.3"), testSlice("c-1", "c", "10.244.1.4"),
	}, "2"))
	if !cache.IsDone(synced[1]) {
		t.Error("not done with slices")
	}
	select {
	case <-s.Replaced():
	default:
		t.Error("nothing was replaced")
	}
	f.wait(t, s, "[a: 10.96.0.1 a-1=10.244.1.1 b: 10.96.0.2 b-1=10.244.1.2 b-2=10.244.1.3 c: 10.96.0.3 c-1=10.244.1.4 d: 10.96.0.4]")
	clear(f.told)

	// b lost a slice, c's moved to d, a Service and its endpoints came, another went, and a stayed as it was. What a list
	// that comes as a stream has is packed already.
	var packed []any
	for _, o := range []any{testService("a", "10.96.0.1"), testService("b", "10.96.0.2"), testService("d", "10.96.0.4"), testService("e", "10.96.0.5")} {
		it, err := s.services.Transformer()(o)
		must(err)
		packed = append(packed, it)
	}
	must(s.services.Replace(packed, "3"))
	must(s.slices.Replace([]any{
		triggered(testSlice("a-1", "a", "10.244.1.1"), at), testSlice("b-2", "b", "10.244.1.3"), testSlice("c-1", "d", "10.244.1.4"), testSlice("e-1", "e", "10.244.1.5"),
	}, "4"))
	told := maps.Clone(f.told)
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		key := types.NamespacedName{Namespace: "default", Name: name}
		if (told[key] > 0) != (name != "a") {
			t.Errorf("%s was told of %d times", name, told[key])
		}
		f.told[key]++
	}
	f.wait(t, s, "[a: 10.96.0.1 a-1=10.244.1.1 b: 10.96.0.2 b-2=10.244.1.3 d: 10.96.0.4 c-1=10.244.1.4 e: 10.96.0.5 e-1=10.244.1.5]")
	if len(f.triggers) != 1 || !f.triggers[0].Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) {
		t.Errorf("changes came about at %v", f.triggers)
	}

	// A slice is deleted that was seen last with another Service's name; then all is.
	must(s.slices.Delete(testSlice("e-1", "a", "10.244.1.5")))
	f.wait(t, s, "[a: 10.96.0.1 a-1=10.244.1.1 b: 10.96.0.2 b-2=10.244.1.3 d: 10.96.0.4 c-1=10.244.1.4 e: 10.96.0.5]")
	must(errors.Join(s.services.Replace(nil, "5"), s.slices.Replace(nil, "6")))
	if len(s.groups) != 0 {
		t.Errorf("left: %v", s.groups)
	}
	stop()
	clear(f.told)
	must(s.services.Add(testService("a", "10.96.0.1")))
	if len(f.told) != 0 {
		t.Error("told after the stop")
	}
	// Who comes later hears of what there is.
	if _, _, err := s.Follow(f.changed); err != nil || len(f.told) != 1 {
		t.Errorf("a later follower was told %v, error %v", f.told, err)
	}
	if _, _, err := s.Follow(f.changed); !errors.Is(err, errFollowed) {
		t.Errorf("a second one: error %v", err)
	}
}

func TestFeedRefusesStrangers(t *testing.T) {
	s := New(fake.NewClientset())
	if s.services.Add(testSlice("a-1", "a", "10.244.1.1")) == nil || s.slices.Replace([]any{testService("a", "10.96.0.1")}, "1") == nil {
		t.Error("an object of another kind was taken")
	}
	if cache.IsDone(s.slices) {
		t.Error("done with what was refused")
	}
}
