package pod

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/flowcontrol"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	crierrors "k8s.io/cri-api/pkg/errors"

	"minato/internal/node/observe"
)

// Reasons why an image is not there.
const (
	reasonInvalidImage = "InvalidImageName"
	reasonInspect      = "ImageInspectError"
	reasonNeverPull    = "ErrImageNeverPull"
	reasonPull         = "ErrImagePull"
	reasonPullBackOff  = "ImagePullBackOff"
)

// shownFor is how long a failed pull is shown as such before the container
// counts as waiting for the next one.
const shownFor = 2 * time.Second

// puller sees to it that images are there.
type puller struct {
	cfg     Config
	backoff *flowcontrol.Backoff
	pulls   *pulls

	mu   sync.Mutex
	last map[string]string // what the last pull failed with, by key of the back-off
}

func newPuller(cfg Config) *puller {
	p := &puller{
		cfg:     cfg,
		backoff: flowcontrol.NewBackOffWithJitter(firstPause, maxPause, 0),
		pulls:   newPulls(cfg),
		last:    map[string]string{},
	}
	p.backoff.Clock = cfg.Clock
	return p
}

// wait returns when no pull is under way.
func (p *puller) wait() { p.pulls.wg.Wait() }

// wish is an image that a Pod's spec names: a container's own, or a volume's
// that it mounts.
type wish struct {
	name   string
	policy v1.PullPolicy
	// volume says that it is a volume's: what is told of the image is about the
	// Pod, and what it means for the container about that.
	volume bool
}

func imageOf(c *v1.Container) wish { return wish{name: c.Image, policy: c.ImagePullPolicy} }

// request is a container's wish for an image.
type request struct {
	w     *worker
	pod   *v1.Pod
	c     *v1.Container
	wish  wish
	image *runtimeapi.ImageSpec
	// logins looks up the Pod's credentials for the image, once.
	logins func() []login
}

func (r *request) event(kind, reason, message string) {
	if r.wish.volume {
		r.w.event(r.pod, kind, reason, message)
		return
	}
	r.w.containerEvent(r.pod, r.c, kind, reason, message)
}

// failed tells of a container's failure in an event, as such.
func (r *request) failed(e *startError) error {
	if r.wish.volume {
		return e // told of the container
	}
	r.event(v1.EventTypeWarning, "Failed", "Error: "+e.reason)
	e.quiet = true
	return e
}

// ensure returns an image for a container, pulled if its policy asks for that or if
// the Pod has not shown that it may have the image.
func (p *puller) ensure(ctx context.Context, w *worker, pod *v1.Pod, c *v1.Container, want wish, sandbox *runtimeapi.PodSandboxConfig) (*runtimeapi.Image, error) {
	r := &request{w: w, pod: pod, c: c, wish: want}
	name, err := fullName(want.name)
	if err != nil {
		message := fmt.Sprintf("Failed to apply default image tag %q: %v", want.name, err)
		r.event(v1.EventTypeWarning, "InspectFailed", message)
		return nil, r.failed(&startError{reason: reasonInvalidImage, message: message, retry: maxPause})
	}
	r.image = imageSpec(pod, want.name, name)
	r.logins = sync.OnceValue(func() []login { return p.logins(ctx, r) })
	have, err := inspect(ctx, p.cfg.Images, r.image)
	switch {
	case err != nil:
		message := fmt.Sprintf("Failed to inspect image %q: %v", want.name, err)
		r.event(v1.EventTypeWarning, "InspectFailed", message)
		return nil, r.failed(&startError{reason: reasonInspect, message: message, retry: firstPause})
	case have == nil:
	case want.policy != v1.PullAlways || isLoaded(have):
		// What a person has loaded is what its name means, also where the policy is
		// Always: no registry is asked.
		if p.mayUse(want, have, r.logins) {
			return r.present(have), nil
		}
	}
	if p.cfg.Pulls.Verifies(want.name, true) {
		// Somebody may load the image while this pull waits for its turn.
		r.image = annotated(r.image, imageAskAnnotation, "true")
	}
	if want.policy == v1.PullNever {
		// Kubelet does not tell either that there is an image which others may use.
		message := fmt.Sprintf("Container image %q is not present with pull policy of Never", want.name)
		r.event(v1.EventTypeWarning, reasonNeverPull, message)
		return nil, r.failed(&startError{reason: reasonNeverPull, message: message, retry: firstPause})
	}
	return p.pull(ctx, r, have, sandbox)
}

// replaces tells whether a plan only stops containers that are started again at once,
// from images that are here by then: those that are not are pulled while the
// containers still run. What the Pod is like in between is not reported, as kubelet,
// which stops and starts within one step, does not.
func (w *worker) replaces(ctx context.Context, pod *v1.Pod, view *observe.Pod, plan Plan) bool {
	for _, k := range plan.Kill {
		if !k.Replace || !w.fetchImage(ctx, pod, view, k.Spec) {
			return false
		}
	}
	return len(plan.Kill) > 0 && !plan.NewSandbox
}

// fetchImage tells whether a container's image is here, after pulling it if it was
// not. Why it is not, starting the container will tell.
func (w *worker) fetchImage(ctx context.Context, pod *v1.Pod, view *observe.Pod, c *v1.Container) bool {
	name, err := fullName(c.Image)
	if err != nil {
		return false
	}
	have, err := inspect(ctx, w.m.cfg.Images, imageSpec(pod, c.Image, name))
	if err != nil || have != nil || c.ImagePullPolicy == v1.PullNever {
		return have != nil
	}
	sandbox, err := w.sandboxConfig(pod, view.Sandbox().Attempt)
	if err != nil {
		return false
	}
	_, err = w.m.pulls.ensure(ctx, w, pod, c, imageOf(c), sandbox)
	return err == nil
}

// present tells that an image that is here is used.
func (r *request) present(have *runtimeapi.Image) *runtimeapi.Image {
	r.event(v1.EventTypeNormal, "Pulled", fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", r.wish.name))
	return have
}

func (p *puller) logins(ctx context.Context, r *request) []login {
	found, err := logins(ctx, p.cfg.Objects, p.cfg.Providers, r.pod, r.image.Image)
	if err != nil && ctx.Err() == nil {
		r.w.event(r.pod, v1.EventTypeWarning, "FailedToRetrieveImagePullSecret", fmt.Sprintf("Unable to retrieve some image pull secrets (%v); attempting to pull the image may not succeed.", err))
	}
	return found
}

func (p *puller) pull(ctx context.Context, r *request, have *runtimeapi.Image, sandbox *runtimeapi.PodSandboxConfig) (*runtimeapi.Image, error) {
	key := backoffKey(r.pod.UID, r.wish.name)
	if now := p.cfg.Clock.Now(); p.backoff.IsInBackOffSinceUpdate(key, now) {
		return nil, p.backOff(r, key)
	}
	r.event(v1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", r.wish.name))
	begin := p.cfg.Clock.Now()
	pulled, took, err := p.pulls.get(ctx, r.image, r.logins(), sandbox)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		r.event(v1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image %q: %v", r.wish.name, err))
		if p.worksOffline(r.pod) && have != nil && errors.Is(err, crierrors.ErrRegistryUnavailable) && p.mayUse(r.wish, have, r.logins) {
			return r.present(have), nil
		}
		p.backoff.Next(key, p.cfg.Clock.Now())
		p.remember(key, fmt.Sprintf("%s: %v", reasonPull, err))
		return nil, r.failed(&startError{reason: reasonPull, message: err.Error(), retry: shownFor})
	}
	waited := p.cfg.Clock.Since(begin).Truncate(time.Millisecond)
	r.event(v1.EventTypeNormal, "Pulled", fmt.Sprintf("Successfully pulled image %q in %v (%v including waiting). Image size: %d bytes.", r.wish.name, took.Truncate(time.Millisecond), waited, pulled.GetSize()))
	p.remember(key, "")
	p.backoff.Reset(key)
	return pulled, nil
}

// worksOffline tells whether a Pod may run the image on the node in place of
// one that its registry, out of reach, might have.
func (p *puller) worksOffline(pod *v1.Pod) bool {
	return p.cfg.OfflineImages || pod.Annotations[OfflineImagesAnnotation] == "true"
}

func backoffKey(uid types.UID, image string) string { return string(uid) + "_" + image }

// forget drops what is known of a Pod's pulls.
func (p *puller) forget(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key := range p.last {
		if strings.HasPrefix(key, backoffKey(uid, "")) {
			delete(p.last, key)
			p.backoff.DeleteEntry(key)
		}
	}
}

// backOff is the state between two pulls.
func (p *puller) backOff(r *request, key string) error {
	message := fmt.Sprintf("Back-off pulling image %q", r.wish.name)
	r.event(v1.EventTypeNormal, "BackOff", message)
	p.mu.Lock()
	if last := p.last[key]; last != "" {
		message += ": " + last
	}
	p.mu.Unlock()
	// The backoff counts from the last failure, which was a moment ago.
	return r.failed(&startError{reason: reasonPullBackOff, message: message, retry: p.backoff.Get(key)})
}

func (p *puller) remember(key, message string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if message == "" {
		delete(p.last, key)
	} else {
		p.last[key] = message
	}
}

// fullName gives an image name its registry and, without tag or digest, the
// tag latest.
func fullName(image string) (string, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "", fmt.Errorf("couldn't parse image name %q: %w", image, err)
	}
	return reference.TagNameOnly(named).String(), nil
}
