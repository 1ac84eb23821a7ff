package metallb

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// L2Advertisement lets nodes answer ARP and NDP for the addresses of pools.
type L2Advertisement struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   L2AdvertisementSpec `json:"spec,omitempty"`
	Status ConditionsStatus    `json:"status,omitempty"`
}

// L2AdvertisementSpec selects pools, nodes, interfaces and Services.
type L2AdvertisementSpec struct {
	IPAddressPools         []string               `json:"ipAddressPools,omitempty"`
	IPAddressPoolSelectors []metav1.LabelSelector `json:"ipAddressPoolSelectors,omitempty"`
	NodeSelectors          []metav1.LabelSelector `json:"nodeSelectors,omitempty"`
	Interfaces             []string               `json:"interfaces,omitempty"`
	ServiceSelectors       []metav1.LabelSelector `json:"serviceSelectors,omitempty"`
	PreferredNodeSelectors []PreferredNode        `json:"preferredNodeSelectors,omitempty"`
}

// PreferredNode adds to the score of the nodes that its selector matches.
type PreferredNode struct {
	Weight     int64                `json:"weight"`
	Preference metav1.LabelSelector `json:"preference"`
}

// ConditionsStatus is the status of the kinds whose status is empty with MetalLB.
type ConditionsStatus struct {
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// BGPAdvertisement announces the addresses of pools to BGP peers.
type BGPAdvertisement struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   BGPAdvertisementSpec `json:"spec,omitempty"`
	Status ConditionsStatus     `json:"status,omitempty"`
}

// BGPAdvertisementSpec selects what is announced where, and with which attributes.
type BGPAdvertisementSpec struct {
	// AggregationLength is 32 if nil, AggregationLengthV6 is 128.
	AggregationLength      *int64                 `json:"aggregationLength,omitempty"`
	AggregationLengthV6    *int64                 `json:"aggregationLengthV6,omitempty"`
	LocalPref              int64                  `json:"localPref,omitempty"`
	ASPathPrepend          int64                  `json:"asPathPrepend,omitempty"`
	Communities            []string               `json:"communities,omitempty"`
	IPAddressPools         []string               `json:"ipAddressPools,omitempty"`
	IPAddressPoolSelectors []metav1.LabelSelector `json:"ipAddressPoolSelectors,omitempty"`
	NodeSelectors          []metav1.LabelSelector `json:"nodeSelectors,omitempty"`
	Peers                  []string               `json:"peers,omitempty"`
	ServiceSelectors       []metav1.LabelSelector `json:"serviceSelectors,omitempty"`
}
