package announce

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"sync"

	"github.com/cilium/ebpf"
)

//go:generate bpf/build.sh

//go:embed announce.o
var object []byte

// layoutVersion is part of the name of the directory of pinned tables. Change it whenever the meaning of an entry changes:
// otherwise a process would take over tables of another meaning from an earlier one.
const layoutVersion = "1"

// Names of the programs.
const (
	program4 = "uplink"
	program6 = "uplink6"
)

// collectionSpec parses the object once per process; nodes load copies.
var collectionSpec = sync.OnceValues(func() (*ebpf.CollectionSpec, error) {
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return nil, fmt.Errorf("parse embedded eBPF object: %w", err)
	}
	return spec, nil
})

// specFor returns what a node loads: without IPv6 not the program for its packets, and with flows in place of its own table
// the Service data plane's.
func specFor(ipv6 bool, flows *ebpf.Map) (*ebpf.CollectionSpec, error) {
	shared, err := collectionSpec()
	if err != nil {
		return nil, err
	}
	spec := shared.Copy()
	if !ipv6 {
		delete(spec.Programs, program6)
	}
	spec.Maps["events"].MaxEntries = uint32(max(int(spec.Maps["events"].MaxEntries), os.Getpagesize()))
	if flows == nil {
		return spec, nil
	}
	own := spec.Maps["flows"]
	if flows.Type() != own.Type || flows.KeySize() != own.KeySize {
		return nil, fmt.Errorf("the table of flows is a %s with keys of %d bytes, want a %s with keys of %d; give the Service data plane's", flows.Type(), flows.KeySize(), own.Type, own.KeySize)
	}
	own.ValueSize, own.MaxEntries, own.Flags, own.Value = flows.ValueSize(), flows.MaxEntries(), flows.Flags(), nil
	return spec, nil
}
