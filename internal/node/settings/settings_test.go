package settings

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
)

func parse(t *testing.T, text string) *Kubelet {
	t.Helper()
	var k Kubelet
	if err := json.Unmarshal([]byte(text), &k); err != nil {
		t.Fatal(err)
	}
	return &k
}

func TestDefaults(t *testing.T) {
	v, err := (*Kubelet)(nil).Values()
	if err != nil || len(v.Thresholds) != 6 || v.Transition != 5*time.Minute || v.LogSize != 10<<20 || v.LogFiles != 5 || v.MaxPods != 110 || len(v.Shutdown) != 0 {
		t.Errorf("the defaults are %+v, %v", v, err)
	}
}

func TestThresholdsReplaceTheDefaultsUnlessMerged(t *testing.T) {
	for text, want := range map[string]int{
		`{"evictionHard": {"memory.available": "200Mi"}}`:                                       1,
		`{"evictionHard": {"memory.available": "200Mi"}, "mergeDefaultEvictionSettings": true}`: 6,
		`{"evictionHard": {}}`: 0,
	} {
		v, err := parse(t, text).Values()
		if err != nil || len(v.Thresholds) != want {
			t.Errorf("%s: %d thresholds, %v, want %d", text, len(v.Thresholds), err, want)
		}
		if want > 0 && v.Thresholds[0].Least.Quantity != 200<<20 {
			t.Errorf("%s: %+v", text, v.Thresholds[0])
		}
	}
}

func TestErrorsNameTheField(t *testing.T) {
	for text, want := range map[string]string{
		`{"evictionHard": {"cpu": "1"}}`:                                                       "evictionHard[cpu]",
		`{"evictionPressureTransitionPeriod": "-1s"}`:                                          "evictionPressureTransitionPeriod -1s",
		`{"evictionMaxPodGracePeriod": -1}`:                                                    "evictionMaxPodGracePeriod -1",
		`{"containerLogMaxSize": "much"}`:                                                      `containerLogMaxSize "much"`,
		`{"containerLogMaxFiles": 1}`:                                                          "containerLogMaxFiles 1",
		`{"containerLogMonitorInterval": "1s"}`:                                                "containerLogMonitorInterval 1s",
		`{"imageGCHighThresholdPercent": 101}`:                                                 "imageGCHighThresholdPercent 101",
		`{"imageGCHighThresholdPercent": 80}`:                                                  "imageGCLowThresholdPercent 80",
		`{"maxParallelImagePulls": 0}`:                                                         "maxParallelImagePulls 0",
		`{"serializeImagePulls": true, "maxParallelImagePulls": 2}`:                            "maxParallelImagePulls 2",
		`{"registryPullQPS": -1}`:                                                              "registryPullQPS -1",
		`{"registryBurst": -1}`:                                                                "registryBurst -1",
		`{"imagePullCredentialsVerificationPolicy": "Sometimes"}`:                              `imagePullCredentialsVerificationPolicy "Sometimes"`,
		`{"preloadedImagesVerificationAllowlist": ["a.example/b"]}`:                            "preloadedImagesVerificationAllowlist: it belongs to",
		`{"imageMaximumGCAge": "1s"}`:                                                          "imageMaximumGCAge 1s",
		`{"maxPods": 0}`:                                                                       "maxPods 0",
		`{"shutdownGracePeriod": "10ms"}`:                                                      "shutdownGracePeriod 10ms",
		`{"shutdownGracePeriodCriticalPods": "5s"}`:                                            "shutdownGracePeriodCriticalPods 5s",
		`{"shutdownGracePeriodByPodPriority": [{"priority": 1}, {"priority": 1}]}`:             "the priority 1 is given twice",
		`{"shutdownGracePeriod": "9s", "shutdownGracePeriodByPodPriority": [{"priority": 1}]}`: "shutdownGracePeriodByPodPriority: it can't be given together",
	} {
		if _, err := parse(t, text).Values(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestOver(t *testing.T) {
	base := parse(t, `{"evictionHard": {"memory.available": "1Gi", "pid.available": "5%"}, "containerLogMaxFiles": 3, "maxPods": 20}`)
	own := parse(t, `{"evictionHard": {"memory.available": "2Gi"}, "maxPods": 30}`)
	got, err := json.Marshal(own.Over(base))
	if err != nil || string(got) != `{"evictionHard":{"memory.available":"2Gi"},"containerLogMaxFiles":3,"maxPods":30}` {
		t.Errorf("%s, %v", got, err)
	}
	var none *Kubelet
	if none.Over(base) != base || own.Over(nil) != own || none.Over(nil) != nil {
		t.Error("nothing over something is that")
	}
}

// What is in effect is what a kubelet would show.
func TestFill(t *testing.T) {
	text := `{"evictionHard":{"memory.available":"1Gi"},"evictionSoft":{"pid.available":"20%"},"evictionSoftGracePeriod":{"pid.available":"1m"},` +
		`"evictionMinimumReclaim":{"memory.available":"1Mi"},"evictionPressureTransitionPeriod":"10s","evictionMaxPodGracePeriod":7,"containerLogMaxSize":"1Mi",` +
		`"containerLogMaxFiles":3,"containerLogMonitorInterval":"5s","shutdownGracePeriod":"9s","shutdownGracePeriodCriticalPods":"3s","maxPods":20,` +
		`"imageGCHighThresholdPercent":70,"imageGCLowThresholdPercent":60,"imageMinimumGCAge":"1m","imageMaximumGCAge":"24h",` +
		`"serializeImagePulls":false,"maxParallelImagePulls":3,"registryPullQPS":7,"registryBurst":9,` +
		`"imagePullCredentialsVerificationPolicy":"NeverVerifyAllowlistedImages","preloadedImagesVerificationAllowlist":["a.example/b","c.example/*"]}`
	k := parse(t, text)
	v, err := k.Values()
	if err != nil {
		t.Fatal(err)
	}
	var full kubeletv1beta1.KubeletConfiguration
	v.Fill(&full)
	shown, err := json.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(parse(t, string(shown)))
	if err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(k)
	if err != nil || string(again) != string(want) {
		t.Errorf("shown %s, given %s, %v", again, want, err)
	}
}

// KEP-2000: critical Pods have their part of the time after all others. KEP-2712:
// a Pod belongs to the entry of the largest priority that is not above its own.
func TestShutdown(t *testing.T) {
	v, err := parse(t, `{"shutdownGracePeriod": "30s", "shutdownGracePeriodCriticalPods": "10s"}`).Values()
	if err != nil || fmt.Sprint(v.Shutdown) != "[{0 20} {2000000000 10}]" || v.ShutdownTime() != 30*time.Second {
		t.Errorf("%v, %v", v.Shutdown, err)
	}
	v, err = parse(t, `{"shutdownGracePeriodByPodPriority": [{"priority": 100, "shutdownGracePeriodSeconds": 5}, {"priority": 0, "shutdownGracePeriodSeconds": 9}, {"priority": 1000, "shutdownGracePeriodSeconds": 2}]}`).Values()
	if err != nil || fmt.Sprint(v.Shutdown) != "[{0 9} {100 5} {1000 2}]" {
		t.Errorf("%v, %v", v.Shutdown, err)
	}
	for priority, want := range map[int32]int{-5: 0, 0: 0, 99: 0, 100: 1, 999: 1, 1000: 2, 2_000_001_000: 2} {
		if got := v.ShutdownGroup(priority); got != want {
			t.Errorf("priority %d is in %d, want %d", priority, got, want)
		}
	}
}

// KEP-2535: which images a Pod has to show a login for, by policy.
func TestVerifies(t *testing.T) {
	listed := `{"imagePullCredentialsVerificationPolicy": "NeverVerifyAllowlistedImages", "preloadedImagesVerificationAllowlist": ["a.example/team/app", "b.example/*", "nginx"]}`
	for _, tc := range []struct {
		config, image     string
		preloaded, pulled bool
	}{
		{`{}`, "nginx:1", false, true},
		{`{"imagePullCredentialsVerificationPolicy": ""}`, "nginx:1", false, true},
		{`{"imagePullCredentialsVerificationPolicy": "NeverVerify"}`, "nginx:1", false, false},
		{`{"imagePullCredentialsVerificationPolicy": "AlwaysVerify"}`, "nginx:1", true, true},
		{listed, "nginx:1", false, false},
		{listed, "docker.io/library/nginx:1", true, true},
		{listed, "a.example/team/app:2@sha256:" + strings.Repeat("0", 64), false, false},
		{listed, "a.example/team/app2", true, true},
		{listed, "b.example/any/thing:1", false, false},
		{listed, "b.example.evil/any:1", true, true},
		{listed, "Not:an:image", true, true},
	} {
		v, err := parse(t, tc.config).Values()
		if err != nil {
			t.Fatal(err)
		}
		if preloaded, pulled := v.Pulls.Verifies(tc.image, true), v.Pulls.Verifies(tc.image, false); preloaded != tc.preloaded || pulled != tc.pulled {
			t.Errorf("%s: %s: %v, %v; want %v, %v", tc.config, tc.image, preloaded, pulled, tc.preloaded, tc.pulled)
		}
	}
	for _, pattern := range []string{"", "*", "/*", "a.example/app:1", "a.example/*/app", " a.example/app", "a.example/app@sha256:" + strings.Repeat("0", 64)} {
		text := fmt.Sprintf(`{"imagePullCredentialsVerificationPolicy": "NeverVerifyAllowlistedImages", "preloadedImagesVerificationAllowlist": [%q]}`, pattern)
		if _, err := parse(t, text).Values(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("preloadedImagesVerificationAllowlist %q", pattern)) {
			t.Errorf("%q: %v", pattern, err)
		}
	}
}

func TestPullBounds(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                            "0 0 10",
		`{"serializeImagePulls": true}`: "1 0 10",
		`{"maxParallelImagePulls": 4}`:  "4 0 10",
		`{"registryPullQPS": 5}`:        "0 5 10",
		`{"registryPullQPS": 5, "registryBurst": 1, "serializeImagePulls": false}`: "0 5 1",
		`{"registryBurst": 0}`: "0 0 10",
	} {
		v, err := parse(t, text).Values()
		if got := fmt.Sprint(v.Pulls.Parallel, v.Pulls.Rate, v.Pulls.Burst); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
}
