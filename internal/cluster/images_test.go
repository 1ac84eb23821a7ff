package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestImageLogin(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, []byte(`{"auths":{"r.io":{"auth":"dTpw"},"kept.io":{}},"credsStore":"desktop"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	login := ImageLogin{DockerConfig: file}
	if got, err := login.find("r.io/app"); err != nil || len(got) != 1 || got[0].GetUsername() != "u" || got[0].GetPassword() != "p" {
		t.Errorf("a login: %v, %v", got, err)
	}
	if got, err := login.find("other.io/app"); err != nil || len(got) != 1 || got[0] != nil {
		t.Errorf("no login: %v, %v; want nobody's", got, err)
	}
	// Anonymous, the registry would only say that access is refused.
	if _, err := login.find("kept.io/app"); err == nil || !strings.Contains(err.Error(), "credsStore") {
		t.Errorf("a login that is elsewhere: %v", err)
	}
}
