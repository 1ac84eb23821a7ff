package pod

import (
	"encoding/json"
	"maps"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Annotations of CRI's ImageSpec by which the agent and the image store tell
// each other whose credentials an image was pulled with. The store knows them by
// the same names. What a Pod's author writes under them is not passed on.
const (
	pullSecretAnnotation  = "minato.local/image-pull-secret"
	imageAccessAnnotation = "minato.local/image-access"
	imageLoadedAnnotation = "minato.local/image-loaded"
	imageAskAnnotation    = "minato.local/image-ask"
)

// OfflineImagesAnnotation on a Pod, with the value "true", lets its containers
// run the image that is on the node where imagePullPolicy is Always and the
// registry cannot be reached. The Pod must have the credentials that the image
// was pulled with.
const OfflineImagesAnnotation = "minato.local/offline-images"

// pullSecret says which Secret or service account a login comes from, and what it
// is (KEP-2535, ImagePullSecret and ImagePullServiceAccount).
type pullSecret struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	Hash      string `json:"hash"`
	// Node says that the login is the node's own, which all Pods may use.
	Node bool `json:"node,omitempty"`
}

// access says who may use an image that is on the node without asking its
// registry (KEP-2535, ImagePullCredentials).
type access struct {
	Anyone  bool         `json:"anyone"`
	Hand    bool         `json:"hand"` // a person has fetched it
	Secrets []pullSecret `json:"secrets"`
}

// isLoaded tells whether the image was loaded from a file under the name it was
// asked for by.
func isLoaded(image *runtimeapi.Image) bool {
	return image.GetSpec().GetAnnotations()[imageLoadedAnnotation] == "true"
}

// mayUse tells whether a Pod may use an image that is on the node. Where the
// node's policy asks for that, the Pod needs one of the Secrets that the image was
// pulled with, whatever its content is by now, or the same credentials in another
// Secret.
func (p *puller) mayUse(want wish, image *runtimeapi.Image, logins func() []login) bool {
	text, pulled := image.GetSpec().GetAnnotations()[imageAccessAnnotation]
	var a access
	if pulled && json.Unmarshal([]byte(text), &a) != nil {
		a, pulled = access{}, true
	}
	if preloaded := !pulled || a.Hand || isLoaded(image); !p.cfg.Pulls.Verifies(want.name, preloaded) || a.Anyone {
		return true
	}
	if len(a.Secrets) == 0 {
		return false
	}
	for _, have := range logins() {
		for _, s := range a.Secrets {
			sameSecret := s.Namespace == have.secret.Namespace && s.Name == have.secret.Name && s.UID == have.secret.UID
			if sameSecret || s.Hash != "" && s.Hash == have.secret.Hash {
				return true
			}
		}
	}
	return false
}

// imageSpec names an image to the runtime for a Pod.
func imageSpec(pod *v1.Pod, asked, name string) *runtimeapi.ImageSpec {
	annotations := maps.Clone(pod.Annotations)
	for _, key := range []string{pullSecretAnnotation, imageAccessAnnotation, imageLoadedAnnotation, imageAskAnnotation} {
		delete(annotations, key)
	}
	return &runtimeapi.ImageSpec{Image: name, UserSpecifiedImage: asked, Annotations: annotations}
}

// withSecret is the image with a word on where the credentials come from that it
// is pulled with.
func withSecret(image *runtimeapi.ImageSpec, s pullSecret) *runtimeapi.ImageSpec {
	text, err := json.Marshal(s)
	if err != nil {
		return image // whose credentials they were is not known then
	}
	return annotated(image, pullSecretAnnotation, string(text))
}

func annotated(image *runtimeapi.ImageSpec, key, value string) *runtimeapi.ImageSpec {
	annotations := maps.Clone(image.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[key] = value
	return &runtimeapi.ImageSpec{
		Image: image.Image, UserSpecifiedImage: image.UserSpecifiedImage,
		RuntimeHandler: image.RuntimeHandler, Annotations: annotations,
	}
}
