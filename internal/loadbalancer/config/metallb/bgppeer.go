package metallb

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// BGPPeer is a router to which addresses are announced, in version v1beta2. Version v1beta1 has a part of its fields,
// under the same names.
type BGPPeer struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   BGPPeerSpec      `json:"spec,omitempty"`
	Status ConditionsStatus `json:"status,omitempty"`
}

// BGPPeerSpec describes the session. Durations are text, as in 90s: a bad one is then an error of its field, and not of
// the whole object's decoding.
type BGPPeerSpec struct {
	MyASN                  int64                  `json:"myASN"`
	PeerASN                int64                  `json:"peerASN,omitempty"`
	DynamicASN             string                 `json:"dynamicASN,omitempty"`
	LocalASN               int64                  `json:"localASN,omitempty"`
	PeerAddress            string                 `json:"peerAddress,omitempty"`
	Interface              string                 `json:"interface,omitempty"`
	SourceAddress          string                 `json:"sourceAddress,omitempty"`
	PeerPort               int64                  `json:"peerPort,omitempty"`
	HoldTime               string                 `json:"holdTime,omitempty"`
	KeepaliveTime          string                 `json:"keepaliveTime,omitempty"`
	ConnectTime            string                 `json:"connectTime,omitempty"`
	RouterID               string                 `json:"routerID,omitempty"`
	NodeSelectors          []metav1.LabelSelector `json:"nodeSelectors,omitempty"`
	Password               string                 `json:"password,omitempty"`
	PasswordSecret         SecretReference        `json:"passwordSecret,omitempty"`
	BFDProfile             string                 `json:"bfdProfile,omitempty"`
	EnableGracefulRestart  bool                   `json:"enableGracefulRestart,omitempty"`
	EBGPMultiHop           bool                   `json:"ebgpMultiHop,omitempty"`
	VRF                    string                 `json:"vrf,omitempty"`
	DisableMP              bool                   `json:"disableMP,omitempty"`
	DualStackAddressFamily bool                   `json:"dualStackAddressFamily,omitempty"`
}

// SecretReference names a Secret.
type SecretReference struct {
	Name      string `json:"name,omitempty"`
	Namespace string `json:"namespace,omitempty"`
}
