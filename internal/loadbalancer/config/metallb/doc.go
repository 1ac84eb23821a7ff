// Package metallb has the objects of the API group metallb.io as Go types and as CustomResourceDefinitions, written
// anew from their documented meaning, so that configurations made for MetalLB can be applied as they are. It knows what
// the objects look like and nothing of what they mean: package config reads them. It does no I/O and knows no client.
package metallb

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
)

// Group is the API group of all kinds of this package.
const Group = "metallb.io"

// The kinds, of version v1beta1 but for BGPPeer, which is stored as v1beta2.
const (
	KindIPAddressPool      = "IPAddressPool"
	KindL2Advertisement    = "L2Advertisement"
	KindBGPAdvertisement   = "BGPAdvertisement"
	KindBGPPeer            = "BGPPeer"
	KindBFDProfile         = "BFDProfile"
	KindCommunity          = "Community"
	KindServiceL2Status    = "ServiceL2Status"
	KindServiceBGPStatus   = "ServiceBGPStatus"
	KindConfigurationState = "ConfigurationState"
)

// Decode makes a typed object from the content of an unstructured one, which stays as it is.
func Decode[T any](content map[string]any) (T, error) {
	var object T
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, &object); err != nil {
		return object, fmt.Errorf("decode an object of %s: %w", Group, explain[T](content, err))
	}
	return object, nil
}

// explain returns an error that names the field, which the converter's doesn't.
func explain[T any](content map[string]any, err error) error {
	text, bad := json.Marshal(content)
	if bad != nil {
		return err
	}
	if better := json.Unmarshal(text, new(T)); better != nil {
		return better
	}
	return err
}
