package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	crierrors "k8s.io/cri-api/pkg/errors"
)

// That an image is in the store does not say who may run it: what the registry
// refuses is refused, and only a registry that can't be reached is another
// error.
func TestPullRefusedThoughTheImageIsHere(t *testing.T) {
	s := openStore(t)
	img := makeImage(t, "x", makeTar(t, file("f", "private")))
	reg := startRegistry(t, map[string]v1.Image{"team/app:v1": img})
	reg.password = "sesame"
	svc := newTestService(t, s)
	tag := reg.host + "/team/app:v1"
	digest, _ := img.Digest()
	if _, err := svc.PullImage(t.Context(), spec(tag), &runtimeapi.AuthConfig{Username: "u", Password: "sesame"}, nil); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{tag, reg.host + "/team/app@" + digest.String()} {
		for _, auth := range []*runtimeapi.AuthConfig{nil, {Username: "u", Password: "guess"}} {
			id, err := svc.PullImage(t.Context(), spec(ref), auth, nil)
			if err == nil || errors.Is(err, crierrors.ErrRegistryUnavailable) {
				t.Errorf("pull %s with %v = %s, %v; want it refused", ref, auth, id, err)
			}
		}
	}
	for _, status := range []int{http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests, http.StatusNotImplemented} {
		answers := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.URL.Path != "/v2/" {
				w.WriteHeader(status)
			}
		}))
		ref := strings.TrimPrefix(answers.URL, "http://") + "/team/app:v1"
		if err := s.Tag(tag, ref); err != nil {
			t.Fatal(err)
		}
		if id, err := svc.PullImage(t.Context(), spec(ref), nil, nil); err == nil || errors.Is(err, crierrors.ErrRegistryUnavailable) {
			t.Errorf("status %d: pull = %s, %v; want the registry's error", status, id, err)
		}
		answers.Close()
		if status != http.StatusNotImplemented {
			continue
		}
		if id, err := svc.PullImage(t.Context(), spec(ref), nil, nil); !errors.Is(err, crierrors.ErrRegistryUnavailable) {
			t.Errorf("without a registry: pull = %s, %v; want %v", id, err, crierrors.ErrRegistryUnavailable)
		}
	}
}

// accessOf is what the status of an image says about who may use it; nil where
// everybody may.
func accessOf(t *testing.T, svc *Service, ref string) *Access {
	t.Helper()
	resp, err := svc.ImageStatus(t.Context(), spec(ref), false)
	if err != nil || resp.GetImage() == nil {
		t.Fatalf("status of %s: %v, %v", ref, resp, err)
	}
	annotations := resp.GetImage().GetSpec().GetAnnotations()
	text, ok := annotations[AccessAnnotation]
	switch {
	case annotations[LoadedAnnotation] == "true":
		return nil
	case !ok:
		t.Errorf("status of %s: %v", ref, resp)
		return nil
	}
	var a Access
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		t.Fatal(err)
	}
	return &a
}

func secretSpec(ref string, secret PullSecret) *runtimeapi.ImageSpec {
	text, _ := json.Marshal(secret)
	return &runtimeapi.ImageSpec{Image: ref, Annotations: map[string]string{PullSecretAnnotation: string(text)}}
}

// The store remembers with which credentials an image was pulled, by repository
// and beyond a restart.
func TestAccessIsRemembered(t *testing.T) {
	s := openStore(t)
	img := makeImage(t, "x", makeTar(t, file("f", "private")))
	reg := startRegistry(t, map[string]v1.Image{"team/app:v1": img, "team/app:v2": img, "public/app:v1": img})
	svc := newTestService(t, s)
	reg.password = "sesame"
	login := &runtimeapi.AuthConfig{Username: "u", Password: "sesame"}
	tag, other, public := reg.host+"/team/app:v1", reg.host+"/team/app:v2", reg.host+"/public/app:v1"
	first := PullSecret{Namespace: "a", Name: "login", UID: "1", Hash: "h1"}
	second := PullSecret{Namespace: "b", Name: "login", UID: "2", Hash: "h2"}
	pull := func(sp *runtimeapi.ImageSpec, auth *runtimeapi.AuthConfig) {
		t.Helper()
		if _, err := svc.PullImage(t.Context(), sp, auth, nil); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(ref string, want *Access) {
		t.Helper()
		again, err := Open(s.Dir())
		if err != nil {
			t.Fatal(err)
		}
		for _, svc := range []*Service{svc, newTestService(t, again)} {
			if got := accessOf(t, svc, ref); !reflect.DeepEqual(got, want) {
				t.Errorf("access to %s = %+v, want %+v", ref, got, want)
			}
		}
	}
	pull(spec(tag), login)
	expect(tag, &Access{}) // no Secret is known
	pull(secretSpec(tag, first), login)
	expect(tag, &Access{Secrets: []PullSecret{first}})
	pull(secretSpec(other, second), login)
	both := &Access{Secrets: []PullSecret{first, second}}
	expect(tag, both)
	expect(other, both) // access is the repository's
	digest, _ := img.Digest()
	expect(reg.host+"/team/app@"+digest.String(), both)
	if resp, err := svc.ImageStatus(t.Context(), spec(tag), true); err != nil || !strings.Contains(resp.Info["info"], digest.String()) || strings.Contains(resp.Info["info"], "h2") {
		t.Errorf("the verbose status is %q, %v; want it without hashes of logins", resp.GetInfo(), err)
	}
	renewed := first
	renewed.Hash = "h3"
	pull(secretSpec(tag, renewed), login)
	expect(tag, &Access{Secrets: []PullSecret{second, renewed}})

	reg.password = ""
	pull(spec(public), nil)
	expect(public, &Access{Anyone: true})
	expect(tag, &Access{Secrets: []PullSecret{second, renewed}}) // does not concern another repository

	// Loaded from a file, everybody may use it under that name.
	if _, err := s.Load(t.Context(), writeArchive(t, map[string]v1.Image{tag: img}), nil); err != nil {
		t.Fatal(err)
	}
	expect(tag, nil)
	expect(other, &Access{Secrets: []PullSecret{second, renewed}})
}

// An image that a person has fetched is told from one that a registry gives to
// anyone, and one that was loaded is pulled all the same where the registry has to
// be asked; its name means what the registry says then.
func TestPreloadedImages(t *testing.T) {
	s := openStore(t)
	svc := newTestService(t, s)
	reg := startRegistry(t, map[string]v1.Image{"team/app:v1": makeImage(t, "theirs", makeTar(t, file("f", "theirs"))), "team/by:hand": makeImage(t, "x", makeTar(t, file("f", "x")))})
	tag, hand := reg.host+"/team/app:v1", reg.host+"/team/by:hand"
	if _, err := svc.Pull(t.Context(), hand, nil, nil); err != nil {
		t.Fatal(err)
	}
	if got := accessOf(t, svc, hand); !reflect.DeepEqual(got, &Access{Hand: true}) {
		t.Errorf("fetched by hand: %+v", got)
	}
	if _, err := svc.PullImage(t.Context(), spec(hand), nil, nil); err != nil {
		t.Fatal(err)
	}
	if got := accessOf(t, svc, hand); !reflect.DeepEqual(got, &Access{Anyone: true, Hand: true}) {
		t.Errorf("pulled without a login as well: %+v", got)
	}

	if _, err := s.Load(t.Context(), writeArchive(t, map[string]v1.Image{tag: makeImage(t, "ours", makeTar(t, file("f", "ours")))}), nil); err != nil {
		t.Fatal(err)
	}
	ours, err := svc.PullImage(t.Context(), spec(tag), nil, nil)
	if err != nil || accessOf(t, svc, tag) != nil {
		t.Errorf("the loaded image: %v", err)
	}
	asked := spec(tag)
	asked.Annotations = map[string]string{AskAnnotation: "true"}
	theirs, err := svc.PullImage(t.Context(), asked, nil, nil)
	if got := accessOf(t, svc, tag); err != nil || theirs == ours || !reflect.DeepEqual(got, &Access{Anyone: true}) {
		t.Errorf("asked, the registry gives %s, %v; access %+v", theirs, err, got)
	}
}

func TestAccessIsBounded(t *testing.T) {
	var a Access
	for i := range 3 * maxPullSecrets {
		a = a.with(Access{Secrets: []PullSecret{{Name: fmt.Sprint(i)}}})
	}
	if len(a.Secrets) != maxPullSecrets || a.Secrets[maxPullSecrets-1].Name != fmt.Sprint(3*maxPullSecrets-1) {
		t.Errorf("%d secrets, the last is %v", len(a.Secrets), a.Secrets[len(a.Secrets)-1])
	}
	if got := a.with(Access{Anyone: true}).with(a); !got.Anyone || got.Secrets != nil {
		t.Errorf("public image = %v", got)
	}
}
