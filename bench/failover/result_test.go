package main

import (
	"strings"
	"testing"
	"time"
)

var began = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func after(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }

func TestOutageEndsWhenNothingFailsAnyMore(t *testing.T) {
	l := loadResult{Attempts: []attempt{
		{At: after(-900), Err: "long before"},
		{At: after(-5), Err: "under way when it happened"},
		{At: after(0), Err: "lost"},
		{At: after(100), Node: "node-2"}, // some way works sooner than others
		{At: after(105), Err: "lost"},
		{At: after(215), Node: "node-3"},
		{At: after(210), Node: "node-2"}, // attempts end in any order
		{At: after(220), Node: "node-2"},
		{At: after(5000), Err: "of something else"},
	}}
	r := run{System: minatoName, Node: "node-1", InTime: true}
	r.count(l, began, after(3000), time.Minute)
	if r.Outage != 210 || r.First != 100 {
		t.Errorf("outage %v ms, first success after %v ms", r.Outage, r.First)
	}
	if r.Failed != 4 || r.Attempts != 8 {
		t.Errorf("%d of %d attempts failed", r.Failed, r.Attempts)
	}
}

func TestOutageNobodyNoticed(t *testing.T) {
	r := run{InTime: true}
	r.count(loadResult{Attempts: []attempt{{At: after(-5), Node: "a"}, {At: after(0), Node: "a"}}}, began, after(3000), time.Minute)
	if !r.InTime || r.Outage != 0 {
		t.Errorf("%+v", r)
	}
}

func TestOutageWithoutEnd(t *testing.T) {
	r := run{InTime: true}
	r.count(loadResult{Attempts: []attempt{{At: after(-5), Node: "a"}, {At: after(1), Err: "lost"}}}, began, after(3000), time.Minute)
	if r.InTime || r.Outage != 60_000 {
		t.Errorf("%+v", r)
	}
}

func TestHeldConnections(t *testing.T) {
	l := loadResult{Flows: []flow{
		{Node: "node-2"},
		{Node: "node-2", Since: after(10)}, // a request is under way
		{Node: "node-2", Since: after(10), Stuck: true},
		{Node: "node-3", Cut: after(300), Err: "reset"},
		{Node: "node-3", Cut: after(-300), Err: "before"},
		{Node: "node-1", Cut: after(300), Err: "its Pod is gone"},
		{Err: "it never came to be", Cut: after(-800)},
	}}
	e := disturbance(l, began, "node-1")
	if e.Surviving != 4 || e.Cut != 2 || e.Lost != 1 || e.Errors["held: reset"] != 1 || e.Errors["held: no answer"] != 1 || e.FirstCut != 300 || e.LastCut != 300 {
		t.Errorf("%+v", e)
	}
}

func TestSummary(t *testing.T) {
	res := &result{Allocations: []allocation{
		{System: minatoName, Services: 5, Allocated: 2, Announced: 2, Changes: []float64{4}},
		{System: metallbName, Services: 5, Allocated: 4, Announced: 8, Changes: []float64{16}},
		{System: metallbName, Services: 5, NotInTime: true},
	}}
	for i := range 3 {
		ms := float64(100 * (i + 1))
		res.Runs = append(res.Runs,
			run{System: minatoName, Way: linkDown, InTime: true, Outage: ms, effect: effect{Surviving: 10}},
			run{System: metallbName, Way: linkDown, InTime: i != 2, Outage: 20 * ms, effect: effect{Surviving: 10, Cut: 10}})
	}
	res.sumUp()
	if len(res.Failover) != 2 || res.Failover[0].P50 != 200 || res.Failover[1].Cut != 30 || res.Failover[1].Late != 1 {
		t.Errorf("%+v", res.Failover)
	}
	want := map[string]float64{
		"link down, outage p50": 0.05, "link down, outage p99": 0.05, "all announced": 0.25, "one more announced, p50": 0.25, "one more announced, p99": 0.25,
	}
	for _, r := range res.Ratios {
		if want[r.What] != r.Ratio {
			t.Errorf("%s: %v", r.What, r.Ratio)
		}
		delete(want, r.What)
	}
	if len(want) > 0 {
		t.Errorf("no ratio for %v", want)
	}
	var out strings.Builder
	if err := res.print(&out); err != nil || !strings.Contains(out.String(), "link down") {
		t.Errorf("%v\n%s", err, out.String())
	}
}
