package csi

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	authv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// tokensKey is where a driver finds the tokens that its CSIDriver asks for.
const tokensKey = "csi.storage.k8s.io/serviceAccount.tokens"

// inlineHandle is the handle of a volume that is written in a Pod: a kubelet's.
func inlineHandle(uid types.UID, name string) string {
	return fmt.Sprintf("csi-%x", sha256.Sum256([]byte(string(uid)+name)))
}

// publishSecret is the Secret that NodePublishVolume is given.
func (r *request) publishSecret() *v1.SecretReference {
	if r.Inline == nil {
		return r.Persistent.Spec.CSI.NodePublishSecretRef
	}
	if r.Inline.NodePublishSecretRef == nil {
		return nil
	}
	return &v1.SecretReference{Namespace: r.Pod.Namespace, Name: r.Inline.NodePublishSecretRef.Name}
}

// secret reads what a Secret holds; without a reference, nothing.
func (m *Manager) secret(ctx context.Context, ref *v1.SecretReference) (map[string]string, error) {
	if ref == nil || ref.Name == "" {
		return map[string]string{}, nil
	}
	s, err := m.cfg.Client.CoreV1().Secrets(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the Secret %s/%s for the CSI driver: %w", ref.Namespace, ref.Name, err)
	}
	out := make(map[string]string, len(s.Data))
	for k, v := range s.Data {
		out[k] = string(v)
	}
	return out, nil
}

// tellOfPod adds to a request what the CSIDriver wants to know of the Pod.
func (m *Manager) tellOfPod(ctx context.Context, r *request, req *spec.NodePublishVolumeRequest) error {
	attributes := map[string]string{}
	if r.Inline != nil {
		maps.Copy(attributes, r.Inline.VolumeAttributes)
	} else {
		maps.Copy(attributes, r.Persistent.Spec.CSI.VolumeAttributes)
	}
	if wantsPodInfo(r.object) {
		maps.Copy(attributes, map[string]string{
			"csi.storage.k8s.io/pod.name":            r.Pod.Name,
			"csi.storage.k8s.io/pod.namespace":       r.Pod.Namespace,
			"csi.storage.k8s.io/pod.uid":             string(r.Pod.UID),
			"csi.storage.k8s.io/serviceAccount.name": r.Pod.Spec.ServiceAccountName,
			"csi.storage.k8s.io/ephemeral":           strconv.FormatBool(r.Inline != nil),
		})
	}
	if r.object != nil && len(r.object.Spec.TokenRequests) > 0 {
		tokens, err := m.podTokens(ctx, r)
		if err != nil {
			return err
		}
		if in := r.object.Spec.ServiceAccountTokenInSecrets; in != nil && *in {
			req.Secrets[tokensKey] = tokens
		} else {
			attributes[tokensKey] = tokens
		}
	}
	req.VolumeContext = attributes
	return nil
}

// podTokens asks for the tokens of the Pod's service account that the CSIDriver wants,
// and returns them as drivers read them.
func (m *Manager) podTokens(ctx context.Context, r *request) (string, error) {
	type token struct {
		Token               string      `json:"token"`
		ExpirationTimestamp metav1.Time `json:"expirationTimestamp"`
	}
	out := map[string]token{}
	for _, want := range r.object.Spec.TokenRequests {
		req := &authv1.TokenRequest{Spec: authv1.TokenRequestSpec{
			ExpirationSeconds: want.ExpirationSeconds,
			BoundObjectRef:    &authv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: r.Pod.Name, UID: r.Pod.UID},
		}}
		if want.Audience != "" {
			req.Spec.Audiences = []string{want.Audience}
		}
		got, err := m.cfg.Tokens.Token(ctx, r.Pod.Namespace, r.Pod.Spec.ServiceAccountName, req)
		if err != nil {
			return "", fmt.Errorf("ask for a token with the audience %q for the CSI driver %s: %w", want.Audience, r.record.Driver, err)
		}
		out[want.Audience] = token{got.Status.Token, got.Status.ExpirationTimestamp}
	}
	text, err := json.Marshal(out)
	return string(text), err
}

// capability says how the Pod uses the volume.
func (m *Manager) capability(ctx context.Context, r *request) (*spec.VolumeCapability, error) {
	single, err := m.has(ctx, r.driver, spec.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER)
	if err != nil {
		return nil, err
	}
	mode := v1.ReadWriteOnce // an inline volume's
	if r.Persistent != nil && len(r.Persistent.Spec.AccessModes) > 0 {
		mode = r.Persistent.Spec.AccessModes[0]
	}
	out := &spec.VolumeCapability{AccessMode: &spec.VolumeCapability_AccessMode{Mode: accessMode(mode, single)}}
	if r.record.Block {
		out.AccessType = &spec.VolumeCapability_Block{Block: &spec.VolumeCapability_BlockVolume{}}
		return out, nil
	}
	mount := &spec.VolumeCapability_MountVolume{}
	if r.Persistent != nil {
		mount.FsType, mount.MountFlags = r.Persistent.Spec.CSI.FSType, r.Persistent.Spec.MountOptions
	} else if r.Inline.FSType != nil {
		mount.FsType = *r.Inline.FSType
	}
	group, err := m.has(ctx, r.driver, spec.NodeServiceCapability_RPC_VOLUME_MOUNT_GROUP)
	if err != nil {
		return nil, err
	}
	if gid := fsGroup(r.Pod); group && gid >= 0 {
		mount.VolumeMountGroup = strconv.Itoa(gid)
	}
	out.AccessType = &spec.VolumeCapability_Mount{Mount: mount}
	return out, nil
}

// accessMode is a claim's access mode in the interface's words, of which a driver knows
// two for one node only if it says so.
func accessMode(mode v1.PersistentVolumeAccessMode, single bool) spec.VolumeCapability_AccessMode_Mode {
	switch {
	case mode == v1.ReadOnlyMany:
		return spec.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
	case mode == v1.ReadWriteMany:
		return spec.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
	case mode == v1.ReadWriteOncePod && single:
		return spec.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
	case mode == v1.ReadWriteOnce && single:
		return spec.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER
	}
	return spec.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
}
