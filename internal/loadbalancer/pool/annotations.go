package pool

// Annotations of Services. The names without the prefix are the same under both prefixes; the new prefix wins.
const (
	// AnnotationPool asks for an address of a pool.
	AnnotationPool = newPrefix + poolName
	// AnnotationAddresses asks for addresses: one, or one of each family with a comma between them.
	AnnotationAddresses = newPrefix + addressesName
	// AnnotationSharing is the key that permits sharing an address.
	AnnotationSharing = newPrefix + sharingName
	// AnnotationAllocatedFrom is written to tell from which pool the addresses are.
	AnnotationAllocatedFrom = newPrefix + "ip-allocated-from-pool"

	newPrefix     = "metallb.io/"
	oldPrefix     = "metallb.universe.tf/"
	poolName      = "address-pool"
	addressesName = "loadBalancerIPs"
	sharingName   = "allow-shared-ip"
)
