package pod

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/distribution/reference"
	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/flowcontrol"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
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

	mu    sync.Mutex
	last  map[string]string      // what the last pull failed with, by key
	locks map[string]*sync.Mutex // one pull of an image at a time
}

func newPuller(cfg Config) *puller {
	p := &puller{
		cfg:     cfg,
		backoff: flowcontrol.NewBackOffWithJitter(firstPause, maxPause, 0),
		last:    map[string]string{},
		locks:   map[string]*sync.Mutex{},
	}
	p.backoff.Clock = cfg.Clock
	return p
}

// ensure returns a container's image, pulled if its policy asks for that.
func (p *puller) ensure(ctx context.Context, w *worker, pod *v1.Pod, c *v1.Container, sandbox *runtimeapi.PodSandboxConfig) (*runtimeapi.Image, error) {
	name, err := fullName(c.Image)
	if err != nil {
		message := fmt.Sprintf("Failed to apply default image tag %q: %v", c.Image, err)
		w.containerEvent(pod, c, v1.EventTypeWarning, "InspectFailed", message)
		return nil, p.failed(w, pod, c, &startError{reason: reasonInvalidImage, message: message, retry: maxPause})
	}
	image := &runtimeapi.ImageSpec{Image: name, UserSpecifiedImage: c.Image, Annotations: pod.Annotations}
	if c.ImagePullPolicy != v1.PullAlways {
		have, err := p.inspect(ctx, image)
		switch {
		case err != nil:
			message := fmt.Sprintf("Failed to inspect image %q: %v", c.Image, err)
			w.containerEvent(pod, c, v1.EventTypeWarning, "InspectFailed", message)
			return nil, p.failed(w, pod, c, &startError{reason: reasonInspect, message: message, retry: firstPause})
		case have != nil:
			w.containerEvent(pod, c, v1.EventTypeNormal, "Pulled", fmt.Sprintf("Container image %q already present on machine", c.Image))
			return have, nil
		case c.ImagePullPolicy == v1.PullNever:
			message := fmt.Sprintf("Container image %q is not present with pull policy of Never", c.Image)
			w.containerEvent(pod, c, v1.EventTypeWarning, reasonNeverPull, message)
			return nil, p.failed(w, pod, c, &startError{reason: reasonNeverPull, message: message, retry: firstPause})
		}
	}
	return p.pull(ctx, w, pod, c, image, sandbox)
}

// failed adds the event that tells of a container's failure as such.
func (p *puller) failed(w *worker, pod *v1.Pod, c *v1.Container, e *startError) error {
	w.containerEvent(pod, c, v1.EventTypeWarning, "Failed", "Error: "+e.reason)
	e.quiet = true
	return e
}

func (p *puller) inspect(ctx context.Context, image *runtimeapi.ImageSpec) (*runtimeapi.Image, error) {
	resp, err := p.cfg.Images.ImageStatus(ctx, image, false)
	if err != nil {
		return nil, err
	}
	return resp.GetImage(), nil
}

func (p *puller) pull(ctx context.Context, w *worker, pod *v1.Pod, c *v1.Container, image *runtimeapi.ImageSpec, sandbox *runtimeapi.PodSandboxConfig) (*runtimeapi.Image, error) {
	key := string(w.uid) + "_" + c.Image
	if now := p.cfg.Clock.Now(); p.backoff.IsInBackOffSinceUpdate(key, now) {
		return nil, p.backOff(w, pod, c, key)
	}
	unlock := p.lock(image.Image)
	defer unlock()
	w.containerEvent(pod, c, v1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", c.Image))
	begin := p.cfg.Clock.Now()
	auth, err := credentials(ctx, p.cfg.Objects, pod, image.Image)
	if err != nil {
		w.event(pod, v1.EventTypeWarning, "FailedToRetrieveImagePullSecret", fmt.Sprintf("Unable to retrieve some image pull secrets (%v); attempting to pull the image may not succeed.", err))
	}
	_, err = p.cfg.Images.PullImage(ctx, image, auth, sandbox)
	var have *runtimeapi.Image
	if err == nil {
		if have, err = p.inspect(ctx, image); err == nil && have == nil {
			err = fmt.Errorf("image %s is not there after it was pulled", image.Image)
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		w.containerEvent(pod, c, v1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image %q: %v", c.Image, err))
		p.backoff.Next(key, p.cfg.Clock.Now())
		p.remember(key, fmt.Sprintf("%s: %v", reasonPull, err))
		return nil, p.failed(w, pod, c, &startError{reason: reasonPull, message: err.Error(), retry: shownFor})
	}
	took := p.cfg.Clock.Since(begin).Truncate(time.Millisecond)
	w.containerEvent(pod, c, v1.EventTypeNormal, "Pulled", fmt.Sprintf("Successfully pulled image %q in %v (%v including waiting). Image size: %d bytes.", c.Image, took, took, have.GetSize()))
	p.remember(key, "")
	p.backoff.Reset(key)
	return have, nil
}

// backOff is the state between two pulls.
func (p *puller) backOff(w *worker, pod *v1.Pod, c *v1.Container, key string) error {
	message := fmt.Sprintf("Back-off pulling image %q", c.Image)
	w.containerEvent(pod, c, v1.EventTypeNormal, "BackOff", message)
	p.mu.Lock()
	if last := p.last[key]; last != "" {
		message += ": " + last
	}
	p.mu.Unlock()
	// The backoff counts from the last failure, which was a moment ago.
	return p.failed(w, pod, c, &startError{reason: reasonPullBackOff, message: message, retry: p.backoff.Get(key)})
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

// lock lets one pull of an image at a time through: the layers that the first
// has fetched serve the others.
func (p *puller) lock(image string) (unlock func()) {
	p.mu.Lock()
	l := p.locks[image]
	if l == nil {
		l = &sync.Mutex{}
		p.locks[image] = l
	}
	p.mu.Unlock()
	l.Lock()
	return l.Unlock
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
