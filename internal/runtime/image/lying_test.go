package image

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"minato/internal/runtime/registry"
)

// liar is a registry that answers whatever a test wants.
type liar struct {
	host      string
	manifests map[string]func(w http.ResponseWriter) // by tag or digest
	blobs     map[string]func(w http.ResponseWriter) // by digest
}

func startLiar(t *testing.T) *liar {
	t.Helper()
	l := &liar{manifests: map[string]func(http.ResponseWriter){}, blobs: map[string]func(http.ResponseWriter){}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		last := req.URL.Path[strings.LastIndexByte(req.URL.Path, '/')+1:]
		answer := l.blobs[last]
		if strings.Contains(req.URL.Path, "/manifests/") {
			answer = l.manifests[last]
		}
		switch {
		case req.URL.Path == "/v2/":
		case answer == nil:
			w.WriteHeader(http.StatusNotFound)
		default:
			answer(w)
		}
	}))
	t.Cleanup(server.Close)
	l.host = strings.TrimPrefix(server.URL, "http://")
	return l
}

func digestOf(data []byte) v1.Hash {
	sum := sha256.Sum256(data)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

func serve(data []byte) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { w.Write(data) }
}

func serveManifest(kind types.MediaType, data []byte) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", string(kind))
		w.Write(data)
	}
}

// endless sends bytes until nobody takes them, and counts them.
func endless(sent *atomic.Int64, chunk string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", string(types.DockerManifestSchema2))
		data := bytes.Repeat([]byte(chunk), 64<<10/len(chunk))
		for sent.Load() < 1<<30 {
			n, err := w.Write(data)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}
}

// image serves an image of one layer; change may falsify its manifest.
func (l *liar) image(t *testing.T, layer []byte, change func(m *v1.Manifest)) {
	t.Helper()
	config := fmt.Appendf(nil, `{"os":"linux","architecture":%q,"rootfs":{"type":"layers","diff_ids":[%q]}}`, runtime.GOARCH, digestOf(layer))
	m := &v1.Manifest{
		SchemaVersion: 2, MediaType: types.DockerManifestSchema2,
		Config: v1.Descriptor{MediaType: types.DockerConfigJSON, Size: int64(len(config)), Digest: digestOf(config)},
		Layers: []v1.Descriptor{{MediaType: types.DockerUncompressedLayer, Size: int64(len(layer)), Digest: digestOf(layer)}},
	}
	l.blobs[digestOf(config).String()] = serve(config)
	l.blobs[digestOf(layer).String()] = serve(layer)
	if change != nil {
		change(m)
	}
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	l.manifests["v1"] = serveManifest(types.DockerManifestSchema2, data)
}

// A pull reads no more from a registry than it can use, and its error names the
// limit that was exceeded.
func TestRegistryThatLies(t *testing.T) {
	layer := makeTar(t, file("f", "content"))
	var sent atomic.Int64
	for _, tc := range []struct {
		name  string
		lie   func(l *liar)
		want  string
		bytes int64 // sent at most
	}{
		{"nothing", func(l *liar) { l.image(t, layer, nil) }, "", 0},
		{"endless manifest", func(l *liar) { l.manifests["v1"] = endless(&sent, " ") }, "larger than the limit of 4194304 bytes", 32 << 20},
		{"manifest of empty objects", func(l *liar) { l.manifests["v1"] = endless(&sent, "{},") }, "more than the limit of 50000 JSON objects", 16 << 20},
		{"large configuration", func(l *liar) {
			l.image(t, layer, func(m *v1.Manifest) {
				m.Config.Size = 800 << 20
				l.blobs[m.Config.Digest.String()] = endless(&sent, " ")
			})
		}, "configuration a size of 838860800 bytes; the limit is 8388608", 0},
		{"configuration without a size", func(l *liar) {
			l.image(t, layer, func(m *v1.Manifest) { m.Config.Size = -1; l.blobs[m.Config.Digest.String()] = endless(&sent, " ") })
		}, "configuration a size of -1 bytes", 0},
		{"configuration larger than it says", func(l *liar) {
			l.image(t, layer, func(m *v1.Manifest) { l.blobs[m.Config.Digest.String()] = endless(&sent, " ") })
		}, "has another digest", 32 << 20},
		{"layer larger than it says", func(l *liar) {
			l.image(t, layer, func(m *v1.Manifest) {
				l.blobs[m.Layers[0].Digest.String()] = func(w http.ResponseWriter) { w.Write(layer); endless(&sent, "\x00")(w) }
			})
		}, "", 32 << 20},
		{"layer without a size", func(l *liar) {
			l.image(t, layer, func(m *v1.Manifest) {
				m.Layers[0].Size = -1
				l.blobs[m.Layers[0].Digest.String()] = endless(&sent, " ")
			})
		}, "a size of -1 bytes", 0},
		{"another layer", func(l *liar) {
			other := bytes.Replace(layer, []byte("content"), []byte("forgery"), 1)
			l.image(t, layer, func(m *v1.Manifest) { l.blobs[m.Layers[0].Digest.String()] = serve(other) })
		}, "has another digest", 0},
		{"garbage in place of a layer", func(l *liar) {
			l.image(t, layer, func(m *v1.Manifest) {
				l.blobs[m.Layers[0].Digest.String()] = serve(bytes.Repeat([]byte{0x1f, 0x8b, 'x'}, len(layer)/3+1)[:len(layer)])
			})
		}, "has another digest", 0},
		{"another layer whose digest the manifest has", func(l *liar) {
			other := bytes.Replace(layer, []byte("content"), []byte("forgery"), 1)
			l.blobs[digestOf(other).String()] = serve(other)
			l.image(t, layer, func(m *v1.Manifest) { m.Layers[0].Digest = digestOf(other) })
		}, "digest", 0},
		{"cut layer", func(l *liar) {
			l.image(t, layer, func(m *v1.Manifest) { l.blobs[m.Layers[0].Digest.String()] = serve(layer[:len(layer)/2]) })
		}, "size", 0},
		{"many layers", func(l *liar) {
			l.image(t, layer, func(m *v1.Manifest) {
				for len(m.Layers) <= maxLayers {
					m.Layers = append(m.Layers, m.Layers[0])
				}
			})
		}, "513 layers; the limit is 512", 0},
		{"chain of indexes", func(l *liar) {
			l.image(t, layer, nil)
			desc := v1.Descriptor{MediaType: types.DockerManifestSchema2}
			for i := range 2 * maxManifests {
				data, _ := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{desc}, Annotations: map[string]string{"i": fmt.Sprint(i)}})
				desc = v1.Descriptor{MediaType: types.OCIImageIndex, Size: int64(len(data)), Digest: digestOf(data), Platform: &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}}
				l.manifests[desc.Digest.String()] = serveManifest(types.OCIImageIndex, data)
				l.manifests["v1"] = l.manifests[desc.Digest.String()]
			}
		}, "manifests and indexes", 0},
		{"error without end", func(l *liar) {
			l.manifests["v1"] = func(w http.ResponseWriter) { w.WriteHeader(http.StatusTeapot); endless(&sent, "no ")(w) }
		}, "answers with an error", 32 << 20},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := openStore(t)
			l := startLiar(t)
			sent.Store(0)
			tc.lie(l)
			ref := l.host + "/app:v1"
			_, err := newTestService(t, s).PullImage(t.Context(), spec(ref), nil, nil)
			if tc.want == "" && err != nil {
				t.Errorf("pull = %v", err)
			}
			if tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), ref)) {
				t.Errorf("pull = %v, want it to name the image and say %q", err, tc.want)
			}
			if sent.Load() > tc.bytes {
				t.Errorf("%d bytes were taken, want at most %d", sent.Load(), tc.bytes)
			}
			if images, err := s.List(); err != nil || tc.want != "" && len(images) != 0 {
				t.Errorf("images = %v, %v", images, err)
			}
		})
	}
}

// panicky panics when it is asked for something.
type panicky struct{ path string }

func (p panicky) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.Contains(req.URL.Path, p.path) {
		panic("made to fail")
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err == nil && strings.Contains(req.URL.Path+" body", p.path) {
		resp.Body = panickyBody{resp.Body}
	}
	return resp, err
}

type panickyBody struct{ io.ReadCloser }

func (panickyBody) Read([]byte) (int, error) { panic("made to fail") }

// A panic anywhere in a pull is an error of the pull.
func TestPullPanics(t *testing.T) {
	layer := makeTar(t, file("f", "content"))
	for _, path := range []string{"/v2/", "/manifests/", "/blobs/", "/manifests/v1 body", digestOf(layer).String() + " body"} {
		t.Run(path, func(t *testing.T) {
			s := openStore(t)
			l := startLiar(t)
			l.image(t, layer, nil)
			var log bytes.Buffer
			svc, err := NewService(ServiceConfig{Store: s, Registries: registry.Config{Transport: panicky{path}}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := svc.PullImage(t.Context(), spec(l.host+"/app:v1"), nil, nil); err == nil || !strings.Contains(err.Error(), "panic: made to fail") {
				t.Errorf("pull = %v", err)
			}
			if !strings.Contains(log.String(), "panicky") {
				t.Errorf("log without a stack: %s", log.String())
			}
			if err := s.sweep(); err != nil {
				t.Error(err)
			}
			if dirs := layerDirs(t, s); len(dirs) != 0 {
				t.Errorf("layers = %q", dirs)
			}
		})
	}
}
