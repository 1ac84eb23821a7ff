package announce

import (
	"encoding/binary"
	"net/netip"
)

// mix is the finalizer of MurmurHash3: each bit of the input changes about half of the output's.
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// flowHash is the hash by which the programs choose the bucket of a flow; flow_hash in bpf/steer.h is the same. It must be
// the same on all nodes, those of another version included, as long as they share a cluster.
func flowHash(client, service netip.AddrPort, p Protocol, byClient bool) uint32 {
	c, s := addressOf(client.Addr()), addressOf(service.Addr())
	h := mix(binary.LittleEndian.Uint64(c[:8]))
	h = mix(h ^ binary.LittleEndian.Uint64(c[8:]))
	h = mix(h ^ binary.LittleEndian.Uint64(s[:8]))
	h = mix(h ^ binary.LittleEndian.Uint64(s[8:]))
	if !byClient {
		h = mix(h ^ (uint64(client.Port())<<32 | uint64(service.Port())<<16 | uint64(p)))
	}
	return uint32(h >> 32)
}

// BucketOf returns the bucket of a flow, of a table of that many buckets. byClient has all flows of a client to a Service's
// address in one bucket.
func BucketOf(client, service netip.AddrPort, p Protocol, byClient bool, buckets int) int {
	return int(uint64(flowHash(client, service, p, byClient)) * uint64(buckets) >> 32)
}
