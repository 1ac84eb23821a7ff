package dataplane

import (
	"bytes"
	_ "embed"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"
)

//go:generate bpf/build.sh

//go:embed dataplane.o
var object []byte

// layoutVersion names the pinned tables. It changes whenever the meaning of their content does, because a table of the
// same size but another meaning would be taken over from an earlier process.
const layoutVersion = "4"

// collectionSpec parses the object once per process; nodes load copies.
var collectionSpec = sync.OnceValues(func() (*ebpf.CollectionSpec, error) {
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return nil, fmt.Errorf("parse embedded eBPF object: %w", err)
	}
	return spec, nil
})

// specFor is what a node loads: without IPv6 not the programs for its packets, which would take as long to verify as
// those for IPv4. The programs for IPv6 sockets are always needed, because such a socket may talk IPv4.
func specFor(ipv6 bool) (*ebpf.CollectionSpec, error) {
	shared, err := collectionSpec()
	if err != nil {
		return nil, err
	}
	spec := shared.Copy()
	if !ipv6 {
		for _, dir := range []direction{inbound, outbound} {
			delete(spec.Programs, dir.program(true))
		}
	}
	return spec, nil
}
