// Package version tells what this binary is. It imports nothing of Minato.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Set by the linker (see Makefile).
var (
	version = "devel"
	commit  = ""
	date    = ""
)

// Kubernetes is the version of the upstream packages that are built in, which
// is also what nodes and the API server say they are.
const Kubernetes = "v1.36.3"

// Info is what `minato version -o json` prints.
type Info struct {
	Version    string `json:"version"`
	Commit     string `json:"commit,omitempty"`
	Date       string `json:"date,omitempty"`
	Kubernetes string `json:"kubernetes"`
	Go         string `json:"go"`
	Platform   string `json:"platform"`
}

// Get returns the version of the running binary.
func Get() Info {
	info := Info{
		Version: version, Commit: commit, Date: date, Kubernetes: Kubernetes,
		Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	if info.Commit == "" {
		if build, ok := debug.ReadBuildInfo(); ok {
			for _, s := range build.Settings {
				if s.Key == "vcs.revision" {
					info.Commit = s.Value
				}
			}
		}
	}
	return info
}

// String is one line for people.
func (i Info) String() string {
	s := fmt.Sprintf("minato %s (Kubernetes %s, %s, %s)", i.Version, i.Kubernetes, i.Go, i.Platform)
	if i.Commit != "" {
		s += " commit " + i.Commit[:min(12, len(i.Commit))]
	}
	return s
}
