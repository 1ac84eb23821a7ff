package pod

import (
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"

	"minato/internal/node/settings"
)

// set gives the node of a bench other settings of pulls.
func (b *bench) setPulls(s settings.Pulls) {
	b.manager.cfg.Pulls = s
	b.manager.pulls = newPuller(b.manager.cfg)
}

// Who has to show a login for an image that is there, by the node's policy
// (KEP-2535).
func TestVerificationPolicies(t *testing.T) {
	loaded := map[string]string{imageLoadedAnnotation: "true"}
	loadedAndPulled := map[string]string{imageLoadedAnnotation: "true", imageAccessAnnotation: `{"secrets":[{"name":"login","namespace":"default","uid":"uid-of-secret"}]}`}
	hand := map[string]string{imageAccessAnnotation: `{"hand":true}`}
	pulled := map[string]string{imageAccessAnnotation: `{"secrets":[{"name":"elses"}]}`}
	free := map[string]string{imageAccessAnnotation: `{"anyone":true}`}
	listed := []string{"registry.test/*"}
	for _, tc := range []struct {
		name    string
		policy  settings.Pulls
		have    map[string]string
		want    v1.PullPolicy
		secrets []string
		reason  string // "" where it runs
		pulls   int
	}{
		{"default, loaded", settings.Pulls{}, loaded, v1.PullAlways, nil, "", 0},
		{"default, by hand", settings.Pulls{}, hand, v1.PullNever, nil, "", 0},
		{"default, another's", settings.Pulls{}, pulled, v1.PullIfNotPresent, nil, "ErrImagePull", 1},
		{"never, another's", settings.Pulls{Verify: kubeletv1beta1.NeverVerify}, pulled, v1.PullNever, nil, "", 0},
		{"never, but the registry is asked", settings.Pulls{Verify: kubeletv1beta1.NeverVerify}, pulled, v1.PullAlways, nil, "ErrImagePull", 1},
		{"always, loaded", settings.Pulls{Verify: kubeletv1beta1.AlwaysVerify}, loaded, v1.PullIfNotPresent, nil, "ErrImagePull", 1},
		{"always, loaded, with a login", settings.Pulls{Verify: kubeletv1beta1.AlwaysVerify}, loaded, v1.PullIfNotPresent, []string{"login"}, "", 1},
		{"always, loaded and pulled, with the login", settings.Pulls{Verify: kubeletv1beta1.AlwaysVerify}, loadedAndPulled, v1.PullIfNotPresent, []string{"login"}, "", 0},
		{"always, loaded, never pulled", settings.Pulls{Verify: kubeletv1beta1.AlwaysVerify}, loaded, v1.PullNever, []string{"login"}, "ErrImageNeverPull", 0},
		{"always, loaded, pulled always", settings.Pulls{Verify: kubeletv1beta1.AlwaysVerify}, loaded, v1.PullAlways, nil, "ErrImagePull", 1},
		{"always, by hand", settings.Pulls{Verify: kubeletv1beta1.AlwaysVerify}, hand, v1.PullIfNotPresent, nil, "ErrImagePull", 1},
		{"always, given to anyone", settings.Pulls{Verify: kubeletv1beta1.AlwaysVerify}, free, v1.PullIfNotPresent, nil, "", 0},
		{"listed", settings.Pulls{Verify: kubeletv1beta1.NeverVerifyAllowlistedImages, Allowed: listed}, pulled, v1.PullIfNotPresent, nil, "", 0},
		{"not listed", settings.Pulls{Verify: kubeletv1beta1.NeverVerifyAllowlistedImages}, loaded, v1.PullIfNotPresent, nil, "ErrImagePull", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b, images := newPullBench(t, private)
			b.setPulls(tc.policy)
			b.addLogin("login", "sesame")
			images.local[privateImage] = tc.have
			b.manager.Update(newPod("web", wants(privateImage, tc.want, tc.secrets...)))
			if tc.reason == "" {
				b.eventually("it runs", b.phase("web", v1.PodRunning))
			} else {
				b.eventually("it waits", b.waitingFor("web", tc.reason))
			}
			if images.count() != tc.pulls {
				t.Fatalf("%d pulls, want %d", images.count(), tc.pulls)
			}
			if tc.pulls > 0 && isLoadedIn(tc.have) && images.pulls[0].Annotations[imageAskAnnotation] != "true" {
				t.Error("the store is not told to ask the registry")
			}
		})
	}
}

// A pull of which the registry has to be asked, even if somebody loads the image by then,
// is told so, and is not shared with one that need not ask.
func TestPullsAsk(t *testing.T) {
	for policy, want := range map[kubeletv1beta1.ImagePullCredentialsVerificationPolicy]string{
		kubeletv1beta1.AlwaysVerify: "true", kubeletv1beta1.NeverVerifyPreloadedImages: "", kubeletv1beta1.NeverVerify: "",
	} {
		b, images := newPullBench(t, private)
		b.setPulls(settings.Pulls{Verify: policy})
		b.manager.Update(newPod("web", wants(privateImage, v1.PullAlways)))
		b.eventually("it waits", b.waitingFor("web", "ErrImagePull"))
		if got := images.pulls[0].Annotations[imageAskAnnotation]; got != want {
			t.Errorf("%s: the store is told %q, want %q", policy, got, want)
		}
	}
	plain := &runtimeapi.ImageSpec{Image: privateImage}
	if pullKey(plain, nil) == pullKey(annotated(plain, imageAskAnnotation, "true"), nil) {
		t.Error("both share a pull")
	}
}

func isLoadedIn(annotations map[string]string) bool {
	return annotations[imageLoadedAnnotation] == "true"
}

// maxParallelImagePulls: a pull that waits for its turn ends with its Pod.
func TestPullsTakeTurns(t *testing.T) {
	release := make(chan struct{})
	b, images := newPullBench(t, held(release))
	b.setPulls(settings.Pulls{Parallel: 2})
	names := []string{"a", "b", "c", "d"}
	for _, n := range names {
		b.manager.Update(newPod(n, wants("registry.test/"+n+":1", v1.PullAlways)))
	}
	b.eventually("two pull", func() bool { return images.count() == 2 })
	for _, n := range names {
		b.eventually("it says that it pulls", b.events.has(`Pulling Pulling image "registry.test/`+n+`:1"`))
	}
	if images.count() != 2 {
		t.Errorf("%d pulls at a time, want 2", images.count())
	}
	close(release)
	for _, n := range names {
		b.eventually("it runs", b.phase(n, v1.PodRunning))
	}
}

// registryPullQPS: a pull too many fails, and is tried again.
func TestPullsInASecond(t *testing.T) {
	b, images := newPullBench(t, nil)
	b.setPulls(settings.Pulls{Rate: 1, Burst: 1})
	b.manager.Update(newPod("first", wants("registry.test/a:1", v1.PullAlways)))
	b.eventually("the first runs", b.phase("first", v1.PodRunning))
	b.manager.Update(newPod("second", wants("registry.test/b:1", v1.PullAlways)))
	b.eventually("the second waits", b.waitingFor("second", "ErrImagePull"))
	b.eventually("it says why", b.events.has(`Failed Failed to pull image "registry.test/b:1": pull QPS exceeded`))
	if images.count() != 1 {
		t.Errorf("%d pulls, want 1", images.count())
	}
	b.clock.Step(time.Minute)
	b.eventually("the second runs", b.phase("second", v1.PodRunning))
}
