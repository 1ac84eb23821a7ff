package image

import (
	"encoding/json"
	"fmt"
	"slices"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Annotations of CRI's ImageSpec by which the node agent and the store tell
// each other whose credentials an image was pulled with. The agent knows them
// by the same names.
const (
	// PullSecretAnnotation goes with a pull: the Secret that the credentials
	// come from, as the JSON of a [PullSecret].
	PullSecretAnnotation = "minato.local/image-pull-secret"
	// AskAnnotation goes with a pull, and is "true" where the registry is asked even
	// if the image was loaded from a file under that name: what it says of the login
	// is wanted, and its image.
	AskAnnotation = "minato.local/image-ask"
	// AccessAnnotation comes with an image's status: who may use the image under
	// the name asked for without asking the registry, as the JSON of an
	// [Access].
	AccessAnnotation = "minato.local/image-access"
	// LoadedAnnotation is "true" where the image was loaded from a file under the
	// name asked for. AccessAnnotation comes beside it if it was pulled as well.
	LoadedAnnotation = "minato.local/image-loaded"
)

// PullSecret says which Secret or service account a registry's credentials come from, and what
// they are. It is what kubelet keeps of a pull (KEP-2535, ImagePullSecret).
type PullSecret struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	// Hash is the SHA-256 of the credentials, in hexadecimal.
	Hash string `json:"hash"`
	// Node says that the credentials are the node's own, which all Pods may use.
	Node bool `json:"node,omitempty"`
}

// Access says who may use a pulled image of one repository without asking its
// registry again (KEP-2535, ImagePullCredentials).
type Access struct {
	// Anyone is true where the registry gave the image without credentials.
	Anyone bool `json:"anyone,omitempty"`
	// Hand is true where a person has fetched it, for all Pods.
	Hand bool `json:"hand,omitempty"`
	// Secrets are those whose credentials the registry has accepted, the last
	// one last.
	Secrets []PullSecret `json:"secrets,omitempty"`
}

// maxPullSecrets bounds what is remembered of an image: a Secret that was
// forgotten has to be shown to the registry again.
const maxPullSecrets = 100

// with adds those who may use the image after a later pull.
func (a Access) with(b Access) Access {
	hand := a.Hand || b.Hand
	if a.Anyone || b.Anyone {
		return Access{Anyone: true, Hand: hand}
	}
	all := slices.Clone(a.Secrets)
	for _, s := range b.Secrets {
		all = slices.DeleteFunc(all, func(old PullSecret) bool {
			return old.Namespace == s.Namespace && old.Name == s.Name && old.UID == s.UID
		})
		all = append(all, s)
	}
	return Access{Hand: hand, Secrets: all[max(0, len(all)-maxPullSecrets):]}
}

// pulledWith says who may use an image that was pulled with these credentials.
func pulledWith(spec *runtimeapi.ImageSpec, auth *runtimeapi.AuthConfig) (Access, error) {
	if auth == nil {
		return Access{Anyone: true}, nil
	}
	text, ok := spec.GetAnnotations()[PullSecretAnnotation]
	if !ok {
		return Access{}, nil // whose they are is not known
	}
	var s PullSecret
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return Access{}, fmt.Errorf("annotation %s: %w", PullSecretAnnotation, err)
	}
	if s.Node {
		return Access{Anyone: true}, nil
	}
	return Access{Secrets: []PullSecret{s}}, nil
}

// status is the image as CRI describes it to someone who asked for it by name.
func (img *Image) status(asked string) (*runtimeapi.Image, error) {
	out := img.CRI()
	name, err := Normalize(asked)
	if err != nil || isID(img, asked) {
		return out, nil
	}
	access, pulled := img.Access[repository(name)]
	out.Spec.Annotations = map[string]string{}
	if img.loadedAs(name) {
		out.Spec.Annotations[LoadedAnnotation] = "true"
		if !pulled {
			return out, nil
		}
	}
	text, err := json.Marshal(access)
	if err != nil {
		return nil, err
	}
	out.Spec.Annotations[AccessAnnotation] = string(text)
	return out, nil
}

// loadedAs tells whether the image was loaded from a file under this normalised
// name. A digest names the same content whatever tag it was loaded with.
func (img *Image) loadedAs(name string) bool {
	repo := repository(name)
	isDigest := len(name) > len(repo) && name[len(repo)] == '@'
	return slices.ContainsFunc(img.Loaded, func(n string) bool {
		return n == name || isDigest && repository(n) == repo
	})
}
