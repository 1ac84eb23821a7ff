package pool

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// Reason is the outcome of a decision. But for Kept they are the reasons of the events that MetalLB sends.
type Reason string

const (
	// Allocated: the Service gets an address that it didn't have.
	Allocated Reason = "IPAllocated"
	// Kept: the Service keeps what it has. There is no event for that.
	Kept Reason = "IPKept"
	// Failed: the Service gets no address.
	Failed Reason = "AllocationFailed"
	// Invalid: the Service keeps what it has although it asks for something that can't be understood.
	Invalid Reason = "LoadBalancerFailed"
)

// Reasons of the other events that a decision can lead to.
const (
	// ClearAssignment goes with Decision.Cleared.
	ClearAssignment = "ClearAssignment"
	// AdditionalAssignFailed goes with Decision.PendingMessage.
	AdditionalAssignFailed = "AdditionalAssignFailed"
	// DeprecatedAnnotation goes with Service.Deprecated.
	DeprecatedAnnotation = "deprecatedAnnotation"
)

// Cause says more closely why a Service gets no address, in one word for programs.
type Cause string

const (
	// NoPool: there is no pool at all.
	NoPool Cause = "NoPool"
	// NoSuitablePool: no pool gives addresses of that family to this Service by itself.
	NoSuitablePool Cause = "NoSuitablePool"
	// NoAvailableIPs: the pools that the Service may use are full.
	NoAvailableIPs Cause = "NoAvailableIPs"
	// UnknownPool: the pool asked for doesn't exist.
	UnknownPool Cause = "UnknownPool"
	// NotAllowed: no pool has the address asked for.
	NotAllowed Cause = "NotAllowed"
	// NotCompatible: the pool's serviceAllocation doesn't admit the Service.
	NotCompatible Cause = "NotCompatible"
	// OtherPool: the address asked for isn't in the pool asked for.
	OtherPool Cause = "OtherPool"
	// InUse: the address asked for is used by Services with which this one can't share.
	InUse Cause = "InUse"
	// PortInUse: the address asked for is shared, but a port is taken.
	PortInUse Cause = "PortInUse"
	// InvalidRequest: what is asked for can't be understood.
	InvalidRequest Cause = "InvalidRequest"
	// NoFamily: the Service has no cluster IP, or not one of each family although it requires both.
	NoFamily Cause = "NoFamily"
)

// Decision is which addresses a Service gets, and why.
type Decision struct {
	// Addresses are what the status shall list, IPv4 first; empty for a pending Service. All are of one pool.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// Pool is the name of their pool.
	Pool   string `json:"pool,omitempty"`
	Reason Reason `json:"reason"`
	// Cause is set if Reason is Failed or Invalid.
	Cause Cause `json:"cause,omitempty"`
	// Message is the text of the event with Reason, as MetalLB words it; empty if Reason is Kept.
	Message string `json:"message,omitempty"`
	// Help says in one sentence what would help a pending Service.
	Help string `json:"help,omitempty"`
	// Cleared is the text of the event ClearAssignment if a current address is taken back.
	Cleared string `json:"cleared,omitempty"`
	// PendingFamily is the family that a Service with PreferDualStack still lacks: its pool has nothing free of it.
	PendingFamily corev1.IPFamily `json:"pendingFamily,omitempty"`
	// PendingMessage is the text of the event AdditionalAssignFailed that goes with it.
	PendingMessage string `json:"pendingMessage,omitempty"`
	// Why explains the decision in sentences: which pools were looked at, in their order, and why each was not used;
	// then why it is this address.
	Why []string `json:"why,omitempty"`
}

// refusal is why something can't be had.
type refusal struct {
	cause Cause
	text  string // as MetalLB words it
	help  string
}
