package cluster

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// admin is a kubeconfig with one context of that name.
func admin(name string) *clientcmdapi.Config {
	c := clientcmdapi.NewConfig()
	c.Clusters[name] = &clientcmdapi.Cluster{Server: "https://127.0.0.1:6443"}
	c.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: "secret"}
	c.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	c.CurrentContext = name
	return c
}

func TestKubeconfigIsMergedAndTakenOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	t.Setenv("KUBECONFIG", path)
	if err := clientcmd.WriteToFile(*admin("work"), path); err != nil {
		t.Fatal(err)
	}
	c := DefaultConfig()
	// As the cluster reads it from its own file.
	own := filepath.Join(t.TempDir(), "own")
	if err := clientcmd.WriteToFile(*admin("minato"), own); err != nil {
		t.Fatal(err)
	}
	read, err := clientcmd.LoadFromFile(own)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // up twice
		file, err := writeKubeconfig(c, read, "")
		if err != nil || file != path {
			t.Fatalf("wrote %q, %v; want %q", file, err, path)
		}
	}
	got, err := clientcmd.LoadFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.CurrentContext != "minato" || len(got.Contexts) != 2 || len(got.Clusters) != 2 || got.AuthInfos["work"].Token != "secret" || got.AuthInfos["minato"] == nil {
		t.Fatalf("after up: current %q, contexts %v, clusters %v, users %v", got.CurrentContext, got.Contexts, got.Clusters, got.AuthInfos)
	}
	for range 2 { // delete twice
		if err := removeKubeconfig(c); err != nil {
			t.Fatal(err)
		}
	}
	if got, err = clientcmd.LoadFromFile(path); err != nil {
		t.Fatal(err)
	}
	if got.CurrentContext != "" || len(got.Contexts) != 1 || len(got.Clusters) != 1 || len(got.AuthInfos) != 1 || got.Contexts["work"] == nil {
		t.Errorf("after delete: %+v", got)
	}
}

func TestKubeconfigOfItsOwn(t *testing.T) {
	users := filepath.Join(t.TempDir(), "config")
	t.Setenv("KUBECONFIG", users)
	c := DefaultConfig()
	c.Kubeconfig = filepath.Join(t.TempDir(), "own")
	if _, err := writeKubeconfig(c, admin("minato"), c.Kubeconfig); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(users); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the user's kubeconfig was touched: %v", err)
	}
	for range 2 {
		if err := removeKubeconfig(c); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(c.Kubeconfig); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after delete: %v", err)
	}
}

// A file with contexts of others loses our context only.
func TestKubeconfigThatTheUserExtended(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "config"))
	c := DefaultConfig()
	c.Kubeconfig = filepath.Join(t.TempDir(), "own")
	both := admin("minato")
	work := admin("work")
	both.Contexts["work"], both.Clusters["work"], both.AuthInfos["work"] = work.Contexts["work"], work.Clusters["work"], work.AuthInfos["work"]
	if err := clientcmd.WriteToFile(*both, c.Kubeconfig); err != nil {
		t.Fatal(err)
	}
	if err := removeKubeconfig(c); err != nil {
		t.Fatal(err)
	}
	got, err := clientcmd.LoadFromFile(c.Kubeconfig)
	if err != nil || got.Contexts["work"] == nil || got.Contexts["minato"] != nil {
		t.Errorf("after delete: %+v, %v", got, err)
	}
}

func TestBrokenKubeconfigIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	t.Setenv("KUBECONFIG", path)
	if err := os.WriteFile(path, []byte("not: [yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := writeKubeconfig(DefaultConfig(), admin("minato"), ""); err == nil {
		t.Error("a broken kubeconfig was taken")
	}
	if data, _ := os.ReadFile(path); string(data) != "not: [yaml" {
		t.Errorf("the file is now %q", data)
	}
}
