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
const layoutVersion = "2"

// collectionSpec parses the object once per process; nodes load copies.
var collectionSpec = sync.OnceValues(func() (*ebpf.CollectionSpec, error) {
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return nil, fmt.Errorf("parse embedded eBPF object: %w", err)
	}
	return spec, nil
})
