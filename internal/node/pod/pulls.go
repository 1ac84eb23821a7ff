package pod

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/util/flowcontrol"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/node/guard"
)

// pulls are the pulls under way. Containers that want the same image with the
// same credentials share one, which goes on while one of them waits for it. Those
// with other credentials do not wait: their registry has to be asked anyway, and
// the image store fetches what they have in common once.
type pulls struct {
	cfg Config
	// limiter is nil where any number may begin, slots where any number may be under
	// way.
	limiter flowcontrol.PassiveRateLimiter
	slots   chan struct{}

	mu    sync.Mutex
	byKey map[string]*pull // by image and credentials
	wg    sync.WaitGroup
}

// pull is one pull of an image.
type pull struct {
	image   *runtimeapi.ImageSpec
	logins  []login
	sandbox *runtimeapi.PodSandboxConfig

	cancel  context.CancelFunc
	waiters int           // guarded by pulls.mu
	done    chan struct{} // closed when the rest is set

	result *runtimeapi.Image
	err    error
	took   time.Duration
}

func newPulls(cfg Config) *pulls {
	p := &pulls{cfg: cfg, byKey: map[string]*pull{}}
	if s := cfg.Pulls; s.Rate > 0 {
		p.limiter = flowcontrol.NewTokenBucketPassiveRateLimiterWithClock(float32(s.Rate), int(s.Burst), cfg.Clock)
	}
	if n := cfg.Pulls.Parallel; n > 0 {
		p.slots = make(chan struct{}, n)
	}
	return p
}

// get pulls an image, or waits for a pull that is under way. It returns at once
// when ctx ends.
func (p *pulls) get(ctx context.Context, image *runtimeapi.ImageSpec, logins []login, sandbox *runtimeapi.PodSandboxConfig) (*runtimeapi.Image, time.Duration, error) {
	key := pullKey(image, logins)
	p.mu.Lock()
	f := p.byKey[key]
	if f == nil {
		f = &pull{image: image, logins: logins, sandbox: sandbox, done: make(chan struct{})}
		var shared context.Context
		// It belongs to all who wait for it, and ends with the last of them.
		shared, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
		p.byKey[key] = f
		p.wg.Add(1)
		go func() {
			defer p.wg.Done()
			p.run(shared, f)
			p.forget(key, f)
			close(f.done)
		}()
	}
	f.waiters++
	p.mu.Unlock()
	defer p.leave(key, f)
	select {
	case <-f.done:
		return f.result, f.took, f.err
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
}

// pullKey tells pulls apart that may end differently.
func pullKey(image *runtimeapi.ImageSpec, logins []login) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q %q", image.Image, image.Annotations[imageAskAnnotation])
	for _, l := range logins {
		fmt.Fprintf(&b, " %q", []string{l.secret.Namespace, l.secret.Name, l.secret.UID, l.secret.Hash})
	}
	return b.String()
}

// leave takes one back who waits. A pull that nobody waits for is cancelled, and
// whoever comes now starts another.
func (p *pulls) leave(key string, f *pull) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f.waiters--; f.waiters > 0 {
		return
	}
	f.cancel()
	if p.byKey[key] == f {
		delete(p.byKey, key)
	}
}

func (p *pulls) forget(key string, f *pull) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byKey[key] == f {
		delete(p.byKey, key)
	}
}

// begin waits until one more pull may be under way. One that is too many in a
// second fails, as in kubelet, and is tried again after a back-off.
func (p *pulls) begin(ctx context.Context) (end func(), err error) {
	end = func() {}
	if p.slots != nil {
		select {
		case p.slots <- struct{}{}:
			end = func() { <-p.slots }
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if p.limiter != nil && !p.limiter.TryAccept() {
		end()
		return nil, fmt.Errorf("pull QPS exceeded: the node's registryPullQPS is %d, with a registryBurst of %d", p.cfg.Pulls.Rate, p.cfg.Pulls.Burst)
	}
	return end, nil
}

// run pulls when it is the pull's turn. A panic is an error of this pull.
func (p *pulls) run(ctx context.Context, f *pull) {
	end, err := p.begin(ctx)
	if err != nil {
		f.err = err
		return
	}
	defer end()
	begin := p.cfg.Clock.Now()
	f.err = guard.Do("pull image "+f.image.Image, func() (err error) {
		f.result, err = p.fetch(ctx, f)
		return err
	})
	f.took = p.cfg.Clock.Since(begin)
	if stack := guard.Stack(f.err); stack != nil {
		p.cfg.Logger.Error("the pull of an image panicked", "image", f.image.Image, "error", f.err, "stack", string(stack))
	}
}

// fetch tries one login after the other, as kubelet does.
func (p *pulls) fetch(ctx context.Context, f *pull) (*runtimeapi.Image, error) {
	if len(f.logins) == 0 {
		return p.fetchWith(ctx, f.image, nil, f.sandbox)
	}
	var failed []error
	for _, l := range f.logins {
		have, err := p.fetchWith(ctx, withSecret(f.image, l.secret), l.auth, f.sandbox)
		if err == nil || ctx.Err() != nil {
			return have, err
		}
		failed = append(failed, err)
	}
	if len(failed) == 1 {
		return nil, failed[0]
	}
	return nil, errors.Join(failed...)
}

// fetchWith returns what this very pull has brought: by now, somebody else's may
// have given the name to another image.
func (p *pulls) fetchWith(ctx context.Context, image *runtimeapi.ImageSpec, auth *runtimeapi.AuthConfig, sandbox *runtimeapi.PodSandboxConfig) (*runtimeapi.Image, error) {
	id, err := p.cfg.Images.PullImage(ctx, image, auth, sandbox)
	if err != nil {
		return nil, err
	}
	have, err := inspect(ctx, p.cfg.Images, &runtimeapi.ImageSpec{Image: id})
	if err == nil && have == nil {
		err = fmt.Errorf("image %s is not there after it was pulled", image.Image)
	}
	return have, err
}

func inspect(ctx context.Context, images Images, image *runtimeapi.ImageSpec) (*runtimeapi.Image, error) {
	resp, err := images.ImageStatus(ctx, image, false)
	if err != nil {
		return nil, err
	}
	return resp.GetImage(), nil
}
