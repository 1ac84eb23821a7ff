package images

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Everything that a client is led to from the tag is there, with the content that its digest says.
func TestFakeRegistryIsWhole(t *testing.T) {
	made := newTree()
	made.put(executable("pause"), []byte("a program"))
	if err := finishFakeRegistry(nil, made); err != nil {
		t.Fatal(err)
	}
	dir := "var/registry/pause"
	read := func(kind, digest string) []byte {
		algorithm, sum, _ := strings.Cut(digest, ":")
		data, err := made.content(dir + "/" + kind + "/" + algorithm + "/" + sum[:2] + "/" + sum + "/data")
		if err != nil {
			t.Fatal(err)
		}
		if got := sha256.Sum256(data); hex.EncodeToString(got[:]) != sum {
			t.Errorf("%s is not what its digest says", digest)
		}
		return data
	}
	tag, err := made.content(dir + "/manifests/testing")
	if err != nil {
		t.Fatal(err)
	}
	var manifest v1.Manifest
	if err := json.Unmarshal(read("manifests", strings.TrimSpace(string(tag))), &manifest); err != nil {
		t.Fatal(err)
	}
	if manifest.MediaType == "" {
		t.Error("the server takes the type of its answer from the manifest, which has none")
	}
	config, err := v1.ParseConfigFile(bytes.NewReader(read("blobs", manifest.Config.Digest.String())))
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.Entrypoint[0] != "/pause" || len(manifest.Layers) != 1 {
		t.Errorf("entry point %v, %d layers", config.Config.Entrypoint, len(manifest.Layers))
	}
	read("blobs", manifest.Layers[0].Digest.String())
	if _, err := made.content("pause"); err == nil {
		t.Error("the program is in the image itself as well")
	}
}
