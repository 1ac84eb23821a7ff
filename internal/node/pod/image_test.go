package pod

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	crierrors "k8s.io/cri-api/pkg/errors"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
)

// pullImages is an image store whose pulls a test holds up, and which remembers
// who has pulled as Minato's does.
type pullImages struct {
	mu    sync.Mutex
	local map[string]map[string]string // annotations by image
	pulls []*runtimeapi.ImageSpec
	ended int // pulls whose context ended

	answer func(ctx context.Context, image *runtimeapi.ImageSpec, auth *runtimeapi.AuthConfig) error
}

func (p *pullImages) ImageStatus(_ context.Context, image *runtimeapi.ImageSpec, _ bool) (*runtimeapi.ImageStatusResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	annotations, ok := p.local[image.Image]
	if !ok {
		return &runtimeapi.ImageStatusResponse{}, nil
	}
	return &runtimeapi.ImageStatusResponse{Image: &runtimeapi.Image{
		Id: image.Image, Size: 1000, Spec: &runtimeapi.ImageSpec{Image: image.Image, Annotations: annotations},
	}}, nil
}

func (p *pullImages) PullImage(ctx context.Context, image *runtimeapi.ImageSpec, auth *runtimeapi.AuthConfig, _ *runtimeapi.PodSandboxConfig) (string, error) {
	p.mu.Lock()
	p.pulls = append(p.pulls, image)
	answer := p.answer
	p.mu.Unlock()
	var err error
	if answer != nil {
		err = answer(ctx, image, auth)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil {
		p.ended++
		return "", ctx.Err()
	}
	if err != nil {
		return "", err
	}
	a := access{Anyone: auth == nil}
	if text := image.Annotations[pullSecretAnnotation]; text != "" {
		var s pullSecret
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			return "", err
		}
		a.Secrets = []pullSecret{s}
	}
	p.put(image.Image, a)
	return image.Image, nil
}

func (p *pullImages) put(image string, a access) {
	text, _ := json.Marshal(a)
	p.local[image] = map[string]string{imageAccessAnnotation: string(text)}
}

func (p *pullImages) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pulls)
}

func (p *pullImages) is(what func() bool) func() bool {
	return func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return what()
	}
}

// newPullBench is a manager over an image store whose pulls answer says.
func newPullBench(t *testing.T, answer func(ctx context.Context, image *runtimeapi.ImageSpec, auth *runtimeapi.AuthConfig) error) (*bench, *pullImages) {
	t.Helper()
	b := newBench(t)
	images := &pullImages{local: map[string]map[string]string{}, answer: answer}
	b.manager.cfg.Images = images
	b.manager.pulls = newPuller(b.manager.cfg)
	return b, images
}

// wants makes a Pod's container want an image, with Secrets for its registry.
func wants(image string, policy v1.PullPolicy, secrets ...string) func(*v1.Pod) {
	return func(p *v1.Pod) {
		p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = image, policy
		for _, s := range secrets {
			p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, v1.LocalObjectReference{Name: s})
		}
	}
}

func in(namespace string) func(*v1.Pod) { return func(p *v1.Pod) { p.Namespace = namespace } }

// addLogin adds a Secret with a password for registry.test.
func (b *bench) addLogin(name, password string) {
	s := &v1.Secret{Type: v1.SecretTypeDockerConfigJson, Data: map[string][]byte{
		v1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{"registry.test":{"username":"me","password":%q}}}`, password),
	}}
	s.Name, s.UID = name, "uid-of-secret"
	b.objects.add(s)
}

// private lets those in who know the password.
func private(_ context.Context, _ *runtimeapi.ImageSpec, auth *runtimeapi.AuthConfig) error {
	if auth.GetPassword() != "sesame" {
		return fmt.Errorf("registry.test refuses access: 401 Unauthorized")
	}
	return nil
}

const privateImage = "registry.test/app:1"

// A Pod has to show credentials for an image that another Pod's credentials
// have brought to the node (KEP-2535).
func TestImagesThatOthersPulled(t *testing.T) {
	for _, tc := range []struct {
		name    string
		policy  v1.PullPolicy
		secrets []string
		reason  string // "" where it runs
		pulls   int    // after the first Pod's
		event   string
	}{
		{"without a secret", v1.PullIfNotPresent, nil, "ErrImagePull", 1, "Failed Failed to pull image"},
		{"with a wrong secret", v1.PullIfNotPresent, []string{"wrong"}, "ErrImagePull", 1, "Failed Failed to pull image"},
		{"with the same secret", v1.PullIfNotPresent, []string{"login"}, "", 0, `Pulled Container image "registry.test/app:1" already present on machine and can be accessed by the pod`},
		{"with the same credentials in another secret", v1.PullIfNotPresent, []string{"same"}, "", 0, `Pulled Container image "registry.test/app:1" already present on machine and can be accessed by the pod`},
		{"never, without a secret", v1.PullNever, nil, "ErrImageNeverPull", 0, `ErrImageNeverPull Container image "registry.test/app:1" is not present with pull policy of Never`},
		{"never, with the secret", v1.PullNever, []string{"login"}, "", 0, `Pulled Container image "registry.test/app:1" already present on machine and can be accessed by the pod`},
		{"always, without a secret", v1.PullAlways, nil, "ErrImagePull", 1, "Failed Failed to pull image"},
		{"always, with the secret", v1.PullAlways, []string{"login"}, "", 1, `Pulled Successfully pulled image "registry.test/app:1" in `},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b, images := newPullBench(t, private)
			b.addLogin("login", "sesame")
			b.addLogin("same", "sesame")
			b.addLogin("wrong", "guess")
			b.manager.Update(newPod("first", wants(privateImage, v1.PullIfNotPresent, "login")))
			b.eventually("the first runs", b.phase("first", v1.PodRunning))
			if images.count() != 1 {
				t.Fatalf("%d pulls", images.count())
			}
			b.events.mu.Lock()
			b.events.list = nil
			b.events.mu.Unlock()
			b.manager.Update(newPod("second", in("other"), wants(privateImage, tc.policy, tc.secrets...)))
			if tc.reason == "" {
				b.eventually("the second runs", b.phase("second", v1.PodRunning))
			} else {
				b.eventually("the second waits", b.waitingFor("second", tc.reason))
			}
			if got := images.count() - 1; got != tc.pulls {
				t.Errorf("%d pulls, want %d", got, tc.pulls)
			}
			if !b.events.has(tc.event)() {
				t.Errorf("no event %q among %q", tc.event, b.events.all())
			}
		})
	}
}

// The image of a Secret whose password was changed is still the Secret's.
func TestRotatedSecret(t *testing.T) {
	b, images := newPullBench(t, private)
	b.addLogin("login", "sesame")
	b.manager.Update(newPod("first", wants(privateImage, v1.PullIfNotPresent, "login")))
	b.eventually("the first runs", b.phase("first", v1.PodRunning))
	b.addLogin("login", "changed")
	b.manager.Update(newPod("second", wants(privateImage, v1.PullIfNotPresent, "login")))
	b.eventually("the second runs", b.phase("second", v1.PodRunning))
	if images.count() != 1 {
		t.Errorf("%d pulls, want 1", images.count())
	}
}

// A Pod cannot say by its annotations whose image it is.
func TestForgedAnnotations(t *testing.T) {
	b, images := newPullBench(t, nil)
	b.manager.Update(newPod("web", wants(privateImage, v1.PullAlways), func(p *v1.Pod) {
		p.Annotations = map[string]string{pullSecretAnnotation: `{"name":"x"}`, imageAccessAnnotation: "{}", imageLoadedAnnotation: "true", "kept": "yes"}
	}))
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	if got := images.pulls[0].Annotations; len(got) != 1 || got["kept"] != "yes" {
		t.Errorf("annotations = %v", got)
	}
}

// imagePullPolicy Always takes the image on the node only where a person has
// loaded it, or where the registry is out of reach and the user has asked for
// that.
func TestAlwaysFallsBack(t *testing.T) {
	unreachable := fmt.Errorf("no route to host: %w", crierrors.ErrRegistryUnavailable)
	offline := func(p *v1.Pod) { p.Annotations = map[string]string{OfflineImagesAnnotation: "true"} }
	for _, tc := range []struct {
		name   string
		have   map[string]string
		err    error
		change func(*v1.Pod)
		all    bool // the whole cluster works offline
		runs   bool
		pulls  int
	}{
		{"loaded by hand", map[string]string{imageLoadedAnnotation: "true"}, errBroken, nil, false, true, 0},
		{"refused", map[string]string{imageAccessAnnotation: `{"anyone":true}`}, errBroken, offline, true, false, 1},
		{"unreachable", map[string]string{imageAccessAnnotation: `{"anyone":true}`}, unreachable, nil, false, false, 1},
		{"unreachable, the pod asks", map[string]string{imageAccessAnnotation: `{"anyone":true}`}, unreachable, offline, false, true, 1},
		{"unreachable, the cluster is asked", map[string]string{imageAccessAnnotation: `{"anyone":true}`}, unreachable, nil, true, true, 1},
		{"unreachable, another's image", map[string]string{imageAccessAnnotation: `{}`}, unreachable, offline, true, false, 1},
		{"unreachable, nothing there", nil, unreachable, offline, true, false, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b, images := newPullBench(t, func(context.Context, *runtimeapi.ImageSpec, *runtimeapi.AuthConfig) error { return tc.err })
			b.manager.pulls.cfg.OfflineImages = tc.all
			if tc.have != nil {
				images.local[privateImage] = tc.have
			}
			change := []func(*v1.Pod){wants(privateImage, v1.PullAlways)}
			if tc.change != nil {
				change = append(change, tc.change)
			}
			b.manager.Update(newPod("web", change...))
			if tc.runs {
				b.eventually("it runs", b.phase("web", v1.PodRunning))
			} else {
				b.eventually("it waits", b.waitingFor("web", "ErrImagePull"))
			}
			if images.count() != tc.pulls {
				t.Errorf("%d pulls, want %d", images.count(), tc.pulls)
			}
			if b.events.has("Pulled Successfully")() || b.events.has("Pulled Container image")() != tc.runs {
				t.Errorf("events = %q", b.events.all())
			}
		})
	}
}

// held holds up every pull until its context ends or release is closed.
func held(release chan struct{}) func(context.Context, *runtimeapi.ImageSpec, *runtimeapi.AuthConfig) error {
	return func(ctx context.Context, _ *runtimeapi.ImageSpec, _ *runtimeapi.AuthConfig) error {
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// A Pod that is deleted does not wait for a pull, its own or another's; a pull
// goes on while a Pod waits for it, and ends with the last one.
func TestDeletionDoesNotWaitForPulls(t *testing.T) {
	release := make(chan struct{})
	b, images := newPullBench(t, held(release))
	b.addLogin("login", "sesame")
	first := newPod("first", wants(privateImage, v1.PullAlways))
	second := newPod("second", wants(privateImage, v1.PullAlways))
	other := newPod("other", wants(privateImage, v1.PullAlways, "login")) // a pull of its own
	b.manager.Update(first)
	b.eventually("the first pulls", func() bool { return images.count() == 1 })
	b.manager.Update(second)
	b.manager.Update(other)
	pulls := b.manager.pulls.pulls
	waiting := func(n ...int) func() bool {
		return func() bool {
			pulls.mu.Lock()
			defer pulls.mu.Unlock()
			var got []int
			for _, f := range pulls.byKey {
				got = append(got, f.waiters)
			}
			slices.Sort(got)
			return slices.Equal(got, n)
		}
	}
	b.eventually("all wait", waiting(1, 2))
	b.eventually("two pulls are under way", func() bool { return images.count() == 2 })
	b.manager.Update(deleted(other, 0))
	b.eventually("one that pulls alone ends", b.reporter.done("other"))
	b.eventually("so does its pull", images.is(func() bool { return images.ended == 1 }))
	b.manager.Update(deleted(first, 0))
	b.eventually("one that has started the shared pull ends", b.reporter.done("first"))
	if !waiting(1)() || !images.is(func() bool { return images.ended == 1 })() {
		t.Error("the shared pull ended with the Pod that had started it")
	}
	close(release)
	b.eventually("the second runs", b.phase("second", v1.PodRunning))
	if images.count() != 2 {
		t.Errorf("%d pulls, want the first Pod's to serve the second", images.count())
	}

	images.mu.Lock()
	images.answer = held(nil)
	images.mu.Unlock()
	third := newPod("third", wants(privateImage, v1.PullAlways))
	b.manager.Update(third)
	b.eventually("the third pulls", func() bool { return images.count() == 3 })
	b.manager.Update(deleted(third, 0))
	b.eventually("the third ends", b.reporter.done("third"))
	b.eventually("its pull is cancelled", images.is(func() bool { return images.ended == 2 }))
	b.eventually("nothing is left of it", func() bool {
		pulls.mu.Lock()
		defer pulls.mu.Unlock()
		return len(pulls.byKey) == 0
	})
}

// A pull that hangs keeps no Pod waiting that has other credentials for the image.
func TestPullsWithOtherCredentialsDoNotWait(t *testing.T) {
	b, images := newPullBench(t, func(ctx context.Context, _ *runtimeapi.ImageSpec, auth *runtimeapi.AuthConfig) error {
		if auth.GetPassword() == "sesame" {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	})
	b.addLogin("wrong", "x")
	b.addLogin("right", "sesame")
	slow := newPod("slow", wants(privateImage, v1.PullAlways, "wrong"))
	b.manager.Update(slow)
	b.eventually("one pull hangs", func() bool { return images.count() == 1 })
	b.manager.Update(newPod("fast", wants(privateImage, v1.PullAlways, "right")))
	b.eventually("the other runs", b.phase("fast", v1.PodRunning))
	b.manager.Update(deleted(slow, 0))
	b.eventually("the one that hangs ends", b.reporter.done("slow"))
}

// Nothing is kept of the pulls of a Pod that is gone.
func TestPullsAreForgotten(t *testing.T) {
	b, _ := newPullBench(t, private)
	p := newPod("web", wants(privateImage, v1.PullAlways))
	b.manager.Update(p)
	b.eventually("the pull fails", b.waitingFor("web", "ErrImagePull"))
	pulls, key := b.manager.pulls, backoffKey(p.UID, privateImage)
	if pulls.backoff.Get(key) == 0 {
		t.Error("no back-off")
	}
	b.manager.Update(deleted(p, 0))
	b.eventually("it ends", b.reporter.done("web"))
	b.manager.Delete(deleted(p, 0))
	b.eventually("its back-off is forgotten", func() bool {
		pulls.mu.Lock()
		defer pulls.mu.Unlock()
		return len(pulls.last) == 0 && pulls.backoff.Get(key) == 0
	})
}

// A panic costs the one pull.
func TestPullPanics(t *testing.T) {
	b, _ := newPullBench(t, func(_ context.Context, image *runtimeapi.ImageSpec, _ *runtimeapi.AuthConfig) error {
		if strings.Contains(image.Image, "bad") {
			panic("made to fail")
		}
		return nil
	})
	b.manager.Update(newPod("bad", wants("registry.test/bad:1", v1.PullAlways)))
	b.eventually("the pull fails", b.waitingFor("bad", "ErrImagePull"))
	if !b.events.has(`Failed Failed to pull image "registry.test/bad:1": the node agent has a fault and panicked in "pull image registry.test/bad:1": made to fail`)() {
		t.Errorf("events = %q", b.events.all())
	}
	b.manager.Update(newPod("good", wants("registry.test/good:1", v1.PullAlways)))
	b.eventually("another runs", b.phase("good", v1.PodRunning))
}

// The events and messages of a pull are kubelet's.
func podReady(st v1.PodStatus) bool { return podutil.IsPodReadyConditionTrue(st) }

// A container that is given another image runs on while that is pulled, and the Pod is
// not told to be unready for the moment in between.
func TestImageIsReplacedInOneGo(t *testing.T) {
	release := make(chan struct{})
	b, images := newPullBench(t, held(release))
	images.put("registry.test/old:1", access{Anyone: true})
	p := newPod("web", wants("registry.test/old:1", v1.PullIfNotPresent))
	b.manager.Update(p)
	ready := func() bool { return podReady(b.reporter.get("web")) }
	b.eventually("it is ready", ready)
	before := len(b.reporter.all())
	changed := p.DeepCopy()
	wants("registry.test/new:1", v1.PullIfNotPresent)(changed)
	b.manager.Update(changed)
	b.eventually("the other image is pulled", func() bool { return images.count() == 1 })
	if b.called("StopContainer main")() {
		t.Error("the container was stopped before the other image was there")
	}
	close(release)
	b.eventually("the other image runs", func() bool {
		s := b.reporter.get("web").ContainerStatuses
		return len(s) == 1 && s[0].RestartCount == 1 && s[0].Ready
	})
	for _, st := range b.reporter.all()[before:] {
		if !podReady(st) {
			t.Errorf("in between the Pod was told to be %+v", st)
		}
	}
}

// A container whose other image is not to be had is stopped all the same, and that shows.
func TestReplacedByAnImageThatIsNotThere(t *testing.T) {
	b, images := newPullBench(t, func(context.Context, *runtimeapi.ImageSpec, *runtimeapi.AuthConfig) error {
		return errors.New("no such image")
	})
	images.put("registry.test/old:1", access{Anyone: true})
	p := newPod("web", wants("registry.test/old:1", v1.PullIfNotPresent))
	b.manager.Update(p)
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	changed := p.DeepCopy()
	wants("registry.test/new:1", v1.PullIfNotPresent)(changed)
	b.manager.Update(changed)
	b.eventually("its container is stopped", b.called("StopContainer main"))
	b.eventually("the Pod is not ready", func() bool { return !podReady(b.reporter.get("web")) })
	b.eventually("the reason shows", b.waitingFor("web", reasonPullBackOff))
}

func TestPullEvents(t *testing.T) {
	b, _ := newPullBench(t, func(ctx context.Context, _ *runtimeapi.ImageSpec, _ *runtimeapi.AuthConfig) error { return nil })
	b.manager.Update(newPod("web", wants(privateImage, v1.PullAlways)))
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	for _, want := range []string{
		`Pulling Pulling image "registry.test/app:1"`,
		`Pulled Successfully pulled image "registry.test/app:1" in 0s (0s including waiting). Image size: 1000 bytes.`,
	} {
		if !slices.Contains(b.events.all(), want) {
			t.Errorf("no event %q among %q", want, b.events.all())
		}
	}
}

// Logins are tried in kubelet's order until one is accepted.
func TestCredentials(t *testing.T) {
	objects := &fakeObjects{secrets: map[string]*v1.Secret{}}
	add := func(name, auths string) {
		s := &v1.Secret{Type: v1.SecretTypeDockerConfigJson, Data: map[string][]byte{v1.DockerConfigJsonKey: []byte(`{"auths":` + auths + `}`)}}
		s.Name = name
		objects.add(s)
	}
	add("a", `{"registry.test":{"username":"host"},"registry.test/team":{"username":"team"},"registry.test/tx":{"username":"no"}}`)
	add("b", `{"https://registry.test/v2/":{"auth":"aG9zdDI6eA"},"*.test":{"username":"glob"},"re*.test":{"username":"part"},"registry.test:5000":{"username":"no"}}`)
	add("c", `{"registry.test":{"auth":"?"}}`)
	pod := newPod("web", wants("registry.test/team/app:1", v1.PullAlways, "c", "a", "b"))
	got, err := logins(t.Context(), objects, nil, pod, "registry.test/team/app:1")
	var names []string
	for _, c := range got {
		names = append(names, c.secret.Name+":"+c.auth.GetUsername())
	}
	if want := "a:team a:host b:host2 b:part b:glob"; strings.Join(names, " ") != want {
		t.Errorf("logins = %q, want %q", strings.Join(names, " "), want)
	}
	if err == nil || !strings.Contains(err.Error(), "c: login for registry.test: auth is not base64") {
		t.Errorf("error = %v", err)
	}

	b, images := newPullBench(t, func(_ context.Context, _ *runtimeapi.ImageSpec, auth *runtimeapi.AuthConfig) error {
		if auth.GetUsername() != "glob" {
			return errBroken
		}
		return nil
	})
	b.manager.pulls.cfg.Objects = objects
	b.manager.Update(pod)
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	if images.count() != 5 || !strings.Contains(images.pulls[4].Annotations[pullSecretAnnotation], `"name":"b"`) {
		t.Errorf("pulls = %v", images.pulls)
	}
}

// Agent and image store do not know each other, and have to mean the same.
func TestAnnotationsAreTheStores(t *testing.T) {
	theirs, err := os.ReadFile("../../runtime/image/access.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`PullSecretAnnotation = "` + pullSecretAnnotation + `"`, `AccessAnnotation = "` + imageAccessAnnotation + `"`, `LoadedAnnotation = "` + imageLoadedAnnotation + `"`,
		"`json:\"namespace\"`", "`json:\"name\"`", "`json:\"uid\"`", "`json:\"hash\"`", "`json:\"anyone,omitempty\"`", "`json:\"secrets,omitempty\"`", "`json:\"node,omitempty\"`",
	} {
		if !strings.Contains(string(theirs), want) {
			t.Errorf("internal/runtime/image/access.go does not have %s", want)
		}
	}
}
