package image

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
)

// What is no image that can run here is refused by what it is, and nothing stays.
func TestPullRefuses(t *testing.T) {
	layer := makeTar(t, file("f", "content"))
	document := func(kind types.MediaType, text string) func(l *liar) {
		return func(l *liar) { l.manifests["v1"] = serveManifest(kind, []byte(text)) }
	}
	changed := func(change func(m *v1.Manifest)) func(l *liar) { return func(l *liar) { l.image(t, layer, change) } }
	for _, tc := range []struct {
		name  string
		serve func(l *liar)
		want  string
	}{
		{"schema 1", document(types.DockerManifestSchema1Signed, `{"schemaVersion":1,"name":"app","fsLayers":[]}`), "schema 1"},
		{"schema 1 with signatures", func(l *liar) {
			l.manifests["v1"] = func(w http.ResponseWriter) {
				w.Header().Set("Docker-Content-Digest", digestOf([]byte("without signatures")).String())
				serveManifest(types.DockerManifestSchema1Signed, []byte(`{"schemaVersion":1,"fsLayers":[],"signatures":[]}`))(w)
			}
		}, "schema 1"},
		{"schema 1 without a type", document("application/json", `{"schemaVersion":1,"fsLayers":[]}`), "schema 1"},
		{"neither manifest nor index", document("application/json", `{"schemaVersion":2}`), "not a container image"},
		{"both", document(types.OCIManifestSchema1, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":[],"manifests":[]}`), "both layers and manifests"},
		{"no JSON", document(types.OCIManifestSchema1, `<html>`), "not JSON"},
		{"foreign layer", changed(func(m *v1.Manifest) { m.Layers[0].MediaType = types.DockerForeignLayer }), "foreign"},
		{"layer elsewhere", changed(func(m *v1.Manifest) { m.Layers[0].URLs = []string{"http://elsewhere"} }), "foreign"},
		{"restricted layer", changed(func(m *v1.Manifest) { m.Layers[0].MediaType = types.OCIRestrictedLayer }), "foreign"},
		{"encrypted layer", changed(func(m *v1.Manifest) { m.Layers[0].MediaType = types.OCILayer + "+encrypted" }), "encrypted"},
		{"chart", changed(func(m *v1.Manifest) { m.Config.MediaType = "application/vnd.cncf.helm.config.v1+json" }), `"application/vnd.cncf.helm.config.v1+json"`},
		{"layer of another kind", changed(func(m *v1.Manifest) { m.Layers[0].MediaType = "application/wasm" }), `"application/wasm"`},
		{"lie about the digest", func(l *liar) {
			l.image(t, layer, nil)
			serve := l.manifests["v1"]
			l.manifests["v1"] = func(w http.ResponseWriter) {
				w.Header().Set("Docker-Content-Digest", digestOf([]byte("another")).String())
				serve(w)
			}
		}, "does not tell the truth"},
		{"index for others", document(types.OCIImageIndex, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[
			{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,"digest":"`+digestOf(nil).String()+`","platform":{"os":"plan9","architecture":"mips"}},
			{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,"digest":"`+digestOf(nil).String()+`","platform":{"os":"unknown","architecture":"unknown"}}]}`), "but for plan9/mips"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := openStore(t)
			l := startLiar(t)
			tc.serve(l)
			_, err := newTestService(t, s).PullImage(t.Context(), spec(l.host+"/app:v1"), nil, nil)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("pull = %v, want %q", err, tc.want)
			}
			if dirs := layerDirs(t, s); len(dirs) != 0 {
				t.Errorf("layers = %q", dirs)
			}
		})
	}
}

// An image is known by the digest of its index as well as by that of its
// manifest, and is found by both without asking again.
func TestPullIndex(t *testing.T) {
	s := openStore(t)
	l := startLiar(t)
	layer := makeTar(t, file("f", "for this machine"))
	l.image(t, layer, nil)
	var manifest bytes.Buffer
	l.manifests["v1"](recorder{&manifest, http.Header{}})
	mine := v1.Descriptor{MediaType: types.DockerManifestSchema2, Size: int64(manifest.Len()), Digest: digestOf(manifest.Bytes()), Platform: &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}}
	l.manifests[mine.Digest.String()] = l.manifests["v1"]
	variant := mine
	variant.Platform = &v1.Platform{OS: "linux", Architecture: runtime.GOARCH, Variant: "v9"}
	variant.Digest = digestOf([]byte("not every processor is such a one"))
	other := v1.Descriptor{MediaType: types.DockerManifestSchema2, Digest: digestOf([]byte("x")), Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}
	data, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{other, variant, mine}})
	if err != nil {
		t.Fatal(err)
	}
	l.manifests["v1"] = serveManifest(types.OCIImageIndex, data)
	index := digestOf(data).String()
	l.manifests[index] = l.manifests["v1"]
	svc := newTestService(t, s)
	id, err := svc.PullImage(t.Context(), spec(l.host+"/app:v1"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, digest := range []string{index, mine.Digest.String()} {
		if img, err := s.Get(l.host + "/app@" + digest); err != nil || img.ID != id || img.Ref() != l.host+"/app@"+index {
			t.Errorf("%s: %+v, %v", digest, img, err)
		}
	}
	if id2, err := svc.PullImage(t.Context(), spec(l.host+"/app@"+index), nil, nil); err != nil || id2 != id {
		t.Errorf("pull by the index's digest = %s, %v", id2, err)
	}
}

type recorder struct {
	*bytes.Buffer
	header http.Header
}

func (r recorder) Header() http.Header { return r.header }
func (recorder) WriteHeader(int)       {}

// Layers are uncompressed by what they are: zstd with frames that hold no data (as
// zstd:chunked has), gzip in several members with a table of contents (eStargz).
func TestPullCompressions(t *testing.T) {
	layer := makeTar(t, dir("d", 0o755), file("d/f", strings.Repeat("content ", 1000)))
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	half := len(layer) / 2
	zstdLayer := enc.EncodeAll(layer[half:], enc.EncodeAll(layer[:half], nil))
	zstdLayer = append(zstdLayer, 0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 'T', 'O', 'C', '!')
	var stargz bytes.Buffer
	for _, part := range [][]byte{layer[:half], layer[half:]} {
		zw := gzip.NewWriter(&stargz)
		zw.Write(part)
		zw.Close()
	}
	footer, _ := gzip.NewWriterLevel(&stargz, gzip.NoCompression)
	footer.Extra = []byte("SG\x16\x000000000000000000STARGZ")
	footer.Close()
	for name, tc := range map[string]struct {
		kind types.MediaType
		data []byte
	}{
		"none": {types.OCIUncompressedLayer, layer}, "zstd": {types.OCILayerZStd, zstdLayer}, "eStargz": {types.OCILayer, stargz.Bytes()},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t)
			l := startLiar(t)
			l.image(t, layer, func(m *v1.Manifest) {
				m.Layers[0] = v1.Descriptor{MediaType: tc.kind, Size: int64(len(tc.data)), Digest: digestOf(tc.data)}
				l.blobs[digestOf(tc.data).String()] = serve(tc.data)
			})
			if _, err := newTestService(t, s).PullImage(t.Context(), spec(l.host+"/app:v1"), nil, nil); err != nil {
				t.Fatal(err)
			}
			if got := readFile(t, filepath.Join(mounted(t, s, l.host+"/app:v1"), "d/f")); !strings.HasPrefix(got, "content ") {
				t.Errorf("content = %q", got)
			}
		})
	}
}

func FuzzManifestKind(f *testing.F) {
	f.Add("application/json", []byte(`{"schemaVersion":2,"layers":[],"config":{"mediaType":"x","size":1,"digest":"sha256:00"}}`))
	f.Add(string(types.OCIImageIndex), []byte(`{"schemaVersion":2,"manifests":[{"platform":{"os":"linux"}}]}`))
	f.Fuzz(func(t *testing.T, mediaType string, raw []byte) {
		kind, err := manifestKind(mediaType, raw)
		if err != nil {
			return
		}
		if !kind.IsIndex() && !kind.IsImage() {
			t.Fatalf("kind %q", kind)
		}
		if idx, err := v1.ParseIndexManifest(bytes.NewReader(raw)); err == nil && kind.IsIndex() {
			forThisMachine(idx.Manifests)
			platforms(idx.Manifests)
		}
		if m, err := v1.ParseManifest(bytes.NewReader(raw)); err == nil && kind.IsImage() {
			if err := checkManifest(m); err != nil && errors.Is(err, ErrNotImage) {
				_ = fmt.Sprint(err)
			}
		}
	})
}
