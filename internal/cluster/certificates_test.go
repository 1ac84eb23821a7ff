package cluster

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

func contextWith(name, cert string) *clientcmdapi.Config {
	c := clientcmdapi.NewConfig()
	c.Clusters[name] = &clientcmdapi.Cluster{Server: "https://127.0.0.1:6443", CertificateAuthorityData: []byte("ca of " + cert)}
	c.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: []byte(cert), ClientKeyData: []byte("key of " + cert)}
	c.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name, Namespace: "mine"}
	return c
}

// TestRenewContext renews what is ours and leaves everything else.
func TestRenewContext(t *testing.T) {
	ours := func(cert, key []byte) bool {
		return (string(cert) == "old" || string(cert) == "new") && string(key) == "key of "+string(cert)
	}
	keyless := contextWith("minato", "old")
	keyless.AuthInfos["minato"].ClientKeyData = []byte("key of another")
	for name, test := range map[string]struct {
		have    *clientcmdapi.Config
		changed bool
	}{
		"the one before":        {contextWith("minato", "old"), true},
		"the same":              {contextWith("minato", "new"), false},
		"of somebody else":      {contextWith("minato", "foreign"), false},
		"without the key":       {keyless, false},
		"another context alone": {contextWith("other", "old"), false},
		"nothing":               {clientcmdapi.NewConfig(), false},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "config")
			if err := clientcmd.WriteToFile(*test.have, file); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(file)
			var changed bool
			err := kubefile{file}.modify(func(c *clientcmdapi.Config) (bool, error) {
				changed = renewContext(c, contextWith("minato", "new"), "minato", ours)
				return changed, nil
			})
			if err != nil || changed != test.changed {
				t.Fatalf("changed %t, want %t; error %v", changed, test.changed, err)
			}
			after, _ := os.ReadFile(file)
			if (string(before) != string(after)) != test.changed {
				t.Error("the file does not say the same as the answer")
			}
			if !test.changed {
				return
			}
			c, err := clientcmd.LoadFromFile(file)
			if err != nil {
				t.Fatal(err)
			}
			user := c.AuthInfos["minato"]
			if string(user.ClientCertificateData) != "new" || string(user.ClientKeyData) != "key of new" ||
				string(c.Clusters["minato"].CertificateAuthorityData) != "ca of new" || c.Contexts["minato"].Namespace != "mine" {
				t.Errorf("the file says %s", after)
			}
		})
	}
}

// A cluster that people have set up without the CA stays one that kubectl takes.
func TestRenewContextWithoutCA(t *testing.T) {
	have := contextWith("minato", "old")
	have.Clusters["minato"].CertificateAuthorityData, have.Clusters["minato"].InsecureSkipTLSVerify = nil, true
	if !renewContext(have, contextWith("minato", "new"), "minato", func(_, _ []byte) bool { return true }) {
		t.Fatal("it was not renewed")
	}
	if len(have.Clusters["minato"].CertificateAuthorityData) > 0 {
		t.Error("the cluster has a CA now, which kubectl refuses beside insecure-skip-tls-verify")
	}
}

// A renewal that could not be followed, as on a full disk, is followed when the part is
// started again.
func TestEachRenewal(t *testing.T) {
	renewed := make(chan struct{}, 1)
	renewed <- struct{}{}
	full := errors.New("no space left on device")
	if err := eachRenewal(t.Context(), renewed, func() error { return full }); !errors.Is(err, full) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	calls := 0
	err := eachRenewal(ctx, renewed, func() error {
		calls++
		cancel()
		return nil
	})
	if err != nil || calls != 1 {
		t.Errorf("it was followed %d times, %v", calls, err)
	}
}
