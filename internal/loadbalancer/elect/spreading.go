package elect

// Buckets is how many buckets the flows of a Service are divided into. It is prime, and more than a hundred times the
// nodes of a usual cluster, so that shares differ by little.
const Buckets = 1021

// None is the index of no node.
const None = 0xffff

// Spreading is which nodes get the flows of a Service, and why.
type Spreading struct {
	// Nodes are those that a bucket names, sorted.
	Nodes []string
	// Buckets has one entry for each bucket, and none at all if no node can take flows.
	Buckets []Bucket
	// Reason is ToEndpoints, ToTerminating or ToEveryNode, or what speaks against those.
	Reason Reason
	// Message says the same in a sentence.
	Message string
}

// Bucket is where the flows of a bucket go. Both are indexes into the Spreading's Nodes, or None.
type Bucket struct {
	// Owner gets new flows.
	Owner uint16
	// Second is who else may know a flow: who owned the bucket before the owner came, or would own it if it went.
	Second uint16
}
