package settings

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
)

// Pulls is how a node pulls images, and which Pods have to show a login for an
// image that is there.
type Pulls struct {
	// Parallel is how many pulls are under way at a time at most; 0 is any number.
	Parallel int32
	// Rate is how many may begin in a second, and Burst how many at once; a Rate of
	// 0 is no bound.
	Rate, Burst int32
	// Verify is the policy of KEP-2535, one of the kubelet's constants; empty is the
	// default.
	Verify kubeletv1beta1.ImagePullCredentialsVerificationPolicy
	// Allowed are the images that NeverVerifyAllowlistedImages names: repositories,
	// or what they begin with, followed by "/*".
	Allowed []string
}

// DefaultBurst is how many pulls may begin at once where registryPullQPS bounds
// them, as with kubelet.
const DefaultBurst = 10

// pulls reads the settings of pulls. By default they are not bounded, unlike the
// kubelet's: nodes share a store, so what many Pods want comes once.
func (v *Values) pulls(k *Kubelet) error {
	v.Pulls = Pulls{Burst: DefaultBurst, Verify: kubeletv1beta1.NeverVerifyPreloadedImages, Allowed: slices.Clone(k.PreloadedImagesVerificationAllowlist)}
	p := &v.Pulls
	if n := k.MaxParallelImagePulls; n != nil {
		if *n < 1 {
			return fmt.Errorf("maxParallelImagePulls %d: give a number above 0", *n)
		}
		p.Parallel = *n
	}
	if serial := k.SerializeImagePulls; serial != nil && *serial {
		if p.Parallel > 1 {
			return fmt.Errorf("maxParallelImagePulls %d: it can't be more than 1 while serializeImagePulls is true; set that to false", p.Parallel)
		}
		p.Parallel = 1
	}
	if n := k.RegistryPullQPS; n != nil {
		if *n < 0 {
			return fmt.Errorf("registryPullQPS %d: give 0 for no bound, or a number above it", *n)
		}
		p.Rate = *n
	}
	if n := k.RegistryBurst; n != nil {
		if *n < 0 {
			return fmt.Errorf("registryBurst %d: give a number above 0", *n)
		}
		if *n > 0 { // 0 is the default, as in kubelet
			p.Burst = *n
		}
	}
	return p.verification(k)
}

func (p *Pulls) verification(k *Kubelet) error {
	if policy := k.ImagePullCredentialsVerificationPolicy; policy != nil && *policy != "" {
		p.Verify = kubeletv1beta1.ImagePullCredentialsVerificationPolicy(*policy)
	}
	switch p.Verify {
	case kubeletv1beta1.NeverVerify, kubeletv1beta1.NeverVerifyPreloadedImages, kubeletv1beta1.AlwaysVerify:
		if len(p.Allowed) > 0 {
			return fmt.Errorf("preloadedImagesVerificationAllowlist: it belongs to the policy %s, but imagePullCredentialsVerificationPolicy is %s; leave one out", kubeletv1beta1.NeverVerifyAllowlistedImages, p.Verify)
		}
	case kubeletv1beta1.NeverVerifyAllowlistedImages:
	default:
		return fmt.Errorf("imagePullCredentialsVerificationPolicy %q: give %s, %s, %s or %s", p.Verify,
			kubeletv1beta1.NeverVerify, kubeletv1beta1.NeverVerifyPreloadedImages, kubeletv1beta1.NeverVerifyAllowlistedImages, kubeletv1beta1.AlwaysVerify)
	}
	for _, pattern := range p.Allowed {
		if err := checkAllowed(pattern); err != nil {
			return fmt.Errorf("preloadedImagesVerificationAllowlist %q: %w", pattern, err)
		}
	}
	return nil
}

// checkAllowed checks a pattern as kubelet does.
func checkAllowed(pattern string) error {
	if prefix, ok := strings.CutSuffix(pattern, "/*"); ok {
		if prefix == "" || strings.ContainsAny(prefix, "* \t") {
			return errors.New("give what images begin with, the registry's host at least, followed by /*")
		}
		return nil
	}
	ref, err := reference.Parse(pattern)
	if err != nil {
		return fmt.Errorf("give the name of an image, or what it begins with followed by /*: %w", err)
	}
	if named, ok := ref.(reference.Named); !ok || named.Name() != pattern {
		return errors.New("leave out the tag and the digest: all images of a repository are meant")
	}
	return nil
}

// Verifies tells whether a Pod has to show that it may have an image that is on
// the node (KEP-2535). image is its name as the Pod has it, and preloaded says that
// no Pod's pull has brought it.
func (p *Pulls) Verifies(image string, preloaded bool) bool {
	switch p.Verify {
	case kubeletv1beta1.NeverVerify:
		return false
	case kubeletv1beta1.AlwaysVerify:
		return true
	case kubeletv1beta1.NeverVerifyAllowlistedImages:
		return !p.allows(image)
	}
	return !preloaded
}

// allows compares names as they are written, as kubelet does: "nginx" is not
// "docker.io/library/nginx".
func (p *Pulls) allows(image string) bool {
	if ref, err := reference.Parse(image); err == nil {
		if named, ok := ref.(reference.Named); ok {
			image = named.Name()
		}
	}
	return slices.ContainsFunc(p.Allowed, func(pattern string) bool {
		if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
			return strings.HasPrefix(image, prefix)
		}
		return image == pattern
	})
}

// fill sets the fields in the kubelet's form as they are in effect.
func (p *Pulls) fill(k *kubeletv1beta1.KubeletConfiguration) {
	serial := p.Parallel == 1
	k.SerializeImagePulls = &serial
	if p.Parallel > 0 {
		k.MaxParallelImagePulls = &p.Parallel
	}
	k.RegistryPullQPS, k.RegistryBurst = &p.Rate, p.Burst
	k.ImagePullCredentialsVerificationPolicy, k.PreloadedImagesVerificationAllowlist = p.Verify, p.Allowed
}
