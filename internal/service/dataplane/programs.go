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

// layoutVersion is part of the name of the directory of pinned tables. Change it whenever the meaning of an entry changes:
// otherwise a process would take over tables of another meaning from an earlier one.
const layoutVersion = "4"

// collectionSpec parses the object once per process; nodes load copies.
var collectionSpec = sync.OnceValues(func() (*ebpf.CollectionSpec, error) {
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return nil, fmt.Errorf("parse embedded eBPF object: %w", err)
	}
	return spec, nil
})

// specFor returns what a node loads. Without IPv6 it leaves out the programs for IPv6 packets, which take as long to verify as
// IPv4's. Those for IPv6 sockets are always needed, because such a socket may use IPv4.
func specFor(ipv6 bool) (*ebpf.CollectionSpec, error) {
	shared, err := collectionSpec()
	if err != nil {
		return nil, err
	}
	spec := shared.Copy()
	if !ipv6 {
		for _, dir := range []direction{inbound, outbound} {
			delete(spec.Programs, programFor(dir, true))
		}
	}
	return spec, nil
}
