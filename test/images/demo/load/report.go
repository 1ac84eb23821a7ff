package load

import (
	"fmt"
	"strings"
	"time"
)

// Result is what came of one client's requests.
type Result struct {
	Target   Target
	Requests int
	Failed   int
	// Renewed is how often a connection that was meant to last had to be made
	// anew because the client was told that it is over.
	Renewed int
	Slowest time.Duration
}

// Report is what came of all requests of a Generator.
type Report struct {
	Name    string
	Results []Result
}

// Failed is how many requests failed.
func (r Report) Failed() int {
	n := 0
	for _, one := range r.Results {
		n += one.Failed
	}
	return n
}

// String sums the clients of each kind up, in the order of the kinds.
func (r Report) String() string {
	sums := map[string]*Result{}
	total := 0
	for _, one := range r.Results {
		sum := sums[one.Target.Kind]
		if sum == nil {
			sum = &Result{}
			sums[one.Target.Kind] = sum
		}
		sum.Requests += one.Requests
		sum.Failed += one.Failed
		sum.Renewed += one.Renewed
		sum.Slowest = max(sum.Slowest, one.Slowest)
		total += one.Requests
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d requests, %d failed\n", r.Name, total, r.Failed())
	for _, kind := range Kinds() {
		if sum := sums[kind]; sum != nil {
			fmt.Fprintf(&b, "  %-13s %6d requests, %d failed, %d connections renewed, slowest %s\n",
				kind, sum.Requests, sum.Failed, sum.Renewed, sum.Slowest.Round(time.Millisecond))
		}
	}
	return b.String()
}
