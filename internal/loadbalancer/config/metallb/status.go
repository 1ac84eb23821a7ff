package metallb

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Labels of the objects that tell what is announced.
const (
	LabelNode             = "metallb.io/node"
	LabelServiceName      = "metallb.io/service-name"
	LabelServiceNamespace = "metallb.io/service-namespace"
)

// Labels of a ConfigurationState.
const (
	LabelComponentType = "metallb.io/component-type" // controller or speaker
	LabelNodeName      = "metallb.io/node-name"      // of a speaker
)

// ServiceL2Status tells which node answers for a Service's addresses.
type ServiceL2Status struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   struct{}     `json:"spec,omitempty"`
	Status L2StatusInfo `json:"status,omitempty"`
}

// L2StatusInfo is the status of a ServiceL2Status. Node and Service can't be changed once they are set.
type L2StatusInfo struct {
	Node             string          `json:"node,omitempty"`
	ServiceName      string          `json:"serviceName,omitempty"`
	ServiceNamespace string          `json:"serviceNamespace,omitempty"`
	Interfaces       []InterfaceInfo `json:"interfaces,omitempty"` // empty for all
}

// InterfaceInfo names a network interface.
type InterfaceInfo struct {
	Name string `json:"name,omitempty"`
}

// ServiceBGPStatus tells to which peers a node is to announce a Service's addresses.
type ServiceBGPStatus struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   struct{}      `json:"spec,omitempty"`
	Status BGPStatusInfo `json:"status,omitempty"`
}

// BGPStatusInfo is the status of a ServiceBGPStatus. Node and Service can't be changed once they are set.
type BGPStatusInfo struct {
	Node             string   `json:"node,omitempty"`
	ServiceName      string   `json:"serviceName,omitempty"`
	ServiceNamespace string   `json:"serviceNamespace,omitempty"`
	Peers            []string `json:"peers,omitempty"`
}

// ConfigurationState tells what one component thinks of the configuration.
type ConfigurationState struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Status ConfigurationStateStatus `json:"status,omitempty"`
}

// Results of a ConfigurationState.
const (
	ResultValid   = "Valid"
	ResultInvalid = "Invalid"
	ResultUnknown = "Unknown"
)

// Types and reasons of the conditions of a ConfigurationState.
const (
	ConditionPoolReconcilerValid   = "poolReconcilerValid"
	ConditionConfigReconcilerValid = "configReconcilerValid"

	ReasonReconciled         = "Reconciled"
	ReasonConfigurationError = "ConfigurationError"
	ReasonInfraError         = "InfraError"
	ReasonUnknownError       = "UnknownError"
)

// ConfigurationStateStatus is the verdict.
type ConfigurationStateStatus struct {
	Result       string             `json:"result,omitempty"`
	ErrorSummary string             `json:"errorSummary,omitempty"` // empty if the result is Valid
	Conditions   []metav1.Condition `json:"conditions,omitempty"`
}
