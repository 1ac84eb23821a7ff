package credential

import (
	"strings"
	"testing"
)

// The cases are those that kubelet's keyring documents.
func TestCovers(t *testing.T) {
	for _, tc := range []struct {
		key, image string
		want       bool
	}{
		{"registry.io", "registry.io/app", true},
		{"registry.io/team", "registry.io/team/app", true},
		{"registry.io/team", "registry.io/teams/app", true}, // a prefix, not a directory
		{"registry.io/team", "registry.io/other", false},
		{"registry.io:8080/path", "registry.io:8080/path/app", true},
		{"registry.io", "registry.io:8080/app", false},
		{"*.azurecr.io", "mine.azurecr.io/app", true},
		{"*.io", "mine.azurecr.io/app", false},
		{"*.*.io", "mine.azurecr.io/app", true},
		{"k8s.*", "k8s.io/app", true},
		{"app*.k8s.io", "app1.k8s.io/x", true},
		{"[.k8s.io", "app.k8s.io/x", false},
		{"[a-c]pp.k8s.io:1", "app.k8s.io:1/x", true},
		{"[fd00::1]:5000/team", "[fd00::1]:5000/team/app", true},
		{"[fd00::1]:5000", "[fd00::1]:5001/app", false},
		{"[fd00::1]", "[fd00::1]/app", true},
	} {
		if got := Covers(tc.key, tc.image); got != tc.want {
			t.Errorf("%s covers %s = %v", tc.key, tc.image, got)
		}
	}
}

func TestMatch(t *testing.T) {
	logins, err := ParseConfigJSON([]byte(`{"auths":{
		"https://index.docker.io/v1/":{"auth":"aHViOng="},
		"r.io":{"username":"host"},"https://r.io/v2/team":{"username":"team"},"*.io":{"username":"glob"},"bad.io":{"auth":"?"},"r.io/v1":{"username":"versioned"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for image, want := range map[string]string{
		"r.io/team/app":           "team host versioned glob",
		"r.io/app":                "host versioned glob",
		"docker.io/library/nginx": "glob", // what matches by itself comes in place of Docker Hub's
		"other.test/x":            "",
		"bad.io/app":              "glob",
	} {
		found, err := logins.Match(image)
		var users []string
		for _, f := range found {
			users = append(users, f.Username)
		}
		if got := strings.Join(users, " "); got != want {
			t.Errorf("%s = %q, want %q", image, got, want)
		}
		if (err != nil) != (image == "bad.io/app") {
			t.Errorf("%s: %v", image, err)
		}
	}
	hub, err := ParseConfig([]byte(`{"https://index.docker.io/v1/":{"auth":"aHViOng="}}`))
	if err != nil {
		t.Fatal(err)
	}
	if found, err := hub.Match("docker.io/library/nginx"); err != nil || len(found) != 1 || found[0].Username != "hub" || found[0].Password != "x" {
		t.Errorf("Docker Hub: %+v, %v", found, err)
	}
	if _, err := ParseConfigJSON([]byte(`{"auths":{"a":{"auth":1,"password":"secret"}}}`)); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("not JSON of the right kind: %v", err)
	}
}

func FuzzMatch(f *testing.F) {
	f.Add([]byte(`{"auths":{"https://r.io/v1/":{"auth":"YTpi"},"*.io":{"username":"u"}}}`), "r.io/team/app")
	f.Fuzz(func(t *testing.T, data []byte, image string) {
		logins, err := ParseConfigJSON(data)
		if err != nil {
			return
		}
		found, _ := logins.Match(image)
		for _, one := range found {
			if !Covers(one.Key, image) && one.Key != dockerHub {
				t.Errorf("key %q for %q", one.Key, image)
			}
		}
	})
}
