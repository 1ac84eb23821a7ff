package metallb

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// BFDProfile is how the path to a BGP peer is probed.
type BFDProfile struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   BFDProfileSpec   `json:"spec,omitempty"`
	Status ConditionsStatus `json:"status,omitempty"`
}

// BFDProfileSpec has intervals in milliseconds; nil is a field's default.
type BFDProfileSpec struct {
	ReceiveInterval  *int64 `json:"receiveInterval,omitempty"`
	TransmitInterval *int64 `json:"transmitInterval,omitempty"`
	DetectMultiplier *int64 `json:"detectMultiplier,omitempty"`
	EchoInterval     *int64 `json:"echoInterval,omitempty"`
	EchoMode         bool   `json:"echoMode,omitempty"`
	PassiveMode      bool   `json:"passiveMode,omitempty"`
	MinimumTTL       *int64 `json:"minimumTtl,omitempty"`
}
