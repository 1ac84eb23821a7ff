package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"minato/bench/lab"
)

type result struct {
	Machine   lab.Machine `json:"machine"`
	Endpoints int         `json:"endpointsOfEachService"`
	Runs      []run       `json:"runs"`
	Growth    []growth    `json:"growth"`
}

// run is one proxy with one number of Services.
type run struct {
	System   string `json:"system"`
	Services int    `json:"services"`
	// Late is how long a load was waited for in vain.
	Late string `json:"notLoadedWithin,omitempty"`
	// LoadSeconds is from the proxy's start until every Service that can be asked answers; CPUSeconds are its own and
	// its children's until then.
	LoadSeconds float64    `json:"loadSeconds"`
	CPUSeconds  float64    `json:"loadCPUSeconds"`
	Memory      lab.Memory `json:"memoryBytes"`
	// From the moment that an EndpointSlice's write was sent to the start of the first connection that followed it.
	Changes  int     `json:"changes"`
	P50      float64 `json:"p50Millis"`
	P99      float64 `json:"p99Millis"`
	Worst    float64 `json:"worstMillis"`
	WriteP50 float64 `json:"writeP50Millis"` // what the API server took of it

	loads, cpu, follow, write []float64
}

func (r *run) summarize() {
	r.LoadSeconds, r.CPUSeconds = lab.Median(r.loads), lab.Median(r.cpu)
	r.Changes = len(r.follow)
	r.P50, r.P99, r.Worst = lab.Median(r.follow), lab.Quantile(r.follow, 0.99), lab.Quantile(r.follow, 1)
	r.WriteP50 = lab.Median(r.write)
}

// growth is what one more Service costs.
type growth struct {
	System          string `json:"system"`
	BytesPerService int64  `json:"bytesPerService"`
	OfProcess       int64  `json:"ofTheProcess"`
	OfKernel        int64  `json:"ofTheKernel"`
}

// grow compares the most Services with the fewest.
func (r *result) grow() {
	least, most := map[string]*run{}, map[string]*run{}
	for i := range r.Runs {
		one := &r.Runs[i]
		if one.Late != "" {
			continue
		}
		if least[one.System] == nil {
			least[one.System] = one
		}
		most[one.System] = one
	}
	for i := range r.Runs {
		a, b := &r.Runs[i], most[r.Runs[i].System]
		if b == nil || a != least[a.System] || a == b {
			continue
		}
		n := int64(b.Services - a.Services)
		r.Growth = append(r.Growth, growth{
			System: a.System, BytesPerService: (b.Memory.Total() - a.Memory.Total()) / n,
			OfProcess: (b.Memory.Process - a.Memory.Process) / n, OfKernel: (b.Memory.Kernel - a.Memory.Kernel) / n,
		})
	}
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

func (r *result) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\n%d cores, Linux %s, %d endpoints each\n\n", r.Machine.Cores, r.Machine.Kernel, r.Endpoints)
	fmt.Fprintln(w, "\tServices\tload s\tits CPU s\tprocess MiB\tkernel MiB\tchanges\tp50 ms\tp99 ms\tworst ms\tof which the write\t")
	for _, one := range r.Runs {
		if one.Late != "" {
			fmt.Fprintf(w, "%s\t%d\tnot in %s\t\t\t\t\t\t\t\t\t\n", one.System, one.Services, one.Late)
			continue
		}
		fmt.Fprintf(w, "%s\t%d\t%.2f\t%.2f\t%.1f\t%.1f\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t\n", one.System, one.Services, one.LoadSeconds, one.CPUSeconds,
			mib(one.Memory.Process), mib(one.Memory.Kernel), one.Changes, one.P50, one.P99, one.Worst, one.WriteP50)
	}
	fmt.Fprintln(w)
	for _, g := range r.Growth {
		fmt.Fprintf(w, "%s\tone more Service\t\t\t%d B\t%d B\t\t\t\t\t\t\n", g.System, g.OfProcess, g.OfKernel)
	}
	return w.Flush()
}
