package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// objects are what the API has.
type objects struct {
	namespaces []corev1.Namespace
	services   []corev1.Service
	slices     []discoveryv1.EndpointSlice
}

// world is everything outside of the servers: the API and an upstream resolver.
type world struct {
	dir        string
	kubeconfig string
	upstream   string
	api        *http.Server // nil where a real API server has the objects
	resolver   *dns.Server
}

// namespaceCount is over how many namespaces the Services are spread.
const namespaceCount = 20

func serviceName(i int) string { return fmt.Sprintf("service-%d.ns-%d", i, i%namespaceCount) }

func clusterIP(i int) string { return fmt.Sprintf("10.96.%d.%d", i/250+1, i%250+1) }

// manyServices makes n ClusterIP Services with three endpoints each.
func manyServices(n int) objects {
	var o objects
	for i := range namespaceCount {
		o.namespaces = append(o.namespaces, corev1.Namespace{ObjectMeta: meta("", fmt.Sprintf("ns-%d", i))})
	}
	tcp := corev1.ProtocolTCP
	for i := range n {
		name, namespace, _ := strings.Cut(serviceName(i), ".")
		s := corev1.Service{ObjectMeta: meta(namespace, name)}
		s.Labels = map[string]string{"app": name}
		s.Spec = corev1.ServiceSpec{
			ClusterIP: clusterIP(i), ClusterIPs: []string{clusterIP(i)}, Selector: map[string]string{"app": name},
			Type: corev1.ServiceTypeClusterIP, SessionAffinity: corev1.ServiceAffinityNone, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Name: "http", Protocol: tcp, Port: 80}},
		}
		o.services = append(o.services, s)
		e := discoveryv1.EndpointSlice{ObjectMeta: meta(namespace, name+"-x"), AddressType: discoveryv1.AddressTypeIPv4}
		e.Labels = map[string]string{discoveryv1.LabelServiceName: name, discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io"}
		port, portName, yes := int32(8080), "http", true
		e.Ports = []discoveryv1.EndpointPort{{Name: &portName, Port: &port, Protocol: &tcp}}
		for j := range 3 {
			k := 3*i + j
			node := fmt.Sprintf("node-%d", k%50)
			e.Endpoints = append(e.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{fmt.Sprintf("10.%d.%d.%d", 128+k/62500, k/250%250, k%250+1)}, NodeName: &node,
				Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes},
				TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: fmt.Sprintf("%s-%d", name, j)},
			})
		}
		o.slices = append(o.slices, e)
	}
	return o
}

func meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "uid", ResourceVersion: "1"}
}

// startWorld serves the objects and resolves names outside of the cluster.
func startWorld(dir string, o objects) (*world, error) {
	w := &world{dir: dir, kubeconfig: filepath.Join(dir, "kubeconfig")}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w.api = &http.Server{Handler: apiHandler(o), ReadHeaderTimeout: time.Second}
	go func() { _ = w.api.Serve(l) }() // ends with Close
	if err := w.startResolver(); err != nil {
		w.api.Close()
		return nil, err
	}
	conf := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","clusters":[{"name":"c","cluster":{"server":"http://%s"}}],"users":[{"name":"u","user":{}}],"contexts":[{"name":"x","context":{"cluster":"c","user":"u"}}],"current-context":"x"}`, l.Addr())
	return w, os.WriteFile(w.kubeconfig, []byte(conf), 0o600)
}

func (w *world) startResolver() error {
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	w.upstream = p.LocalAddr().String()
	w.resolver = &dns.Server{PacketConn: p, Handler: dns.HandlerFunc(resolve)}
	go func() { _ = w.resolver.ActivateAndServe() }() // ends with Shutdown
	return nil
}

func (w *world) close() {
	if w.api != nil {
		w.api.Close()
	}
	_ = w.resolver.Shutdown()
}

// resolve answers every name with an address, but those of "nowhere".
func resolve(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	name := q.Question[0].Name
	switch {
	case strings.HasSuffix(name, "nowhere."):
		m.Rcode = dns.RcodeNameError
		m.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: "nowhere.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 300}, Ns: "ns.nowhere.", Mbox: "m.nowhere.", Minttl: 300}}
	case q.Question[0].Qtype == dns.TypeA:
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 300}, A: net.IPv4(192, 0, 2, 1)}}
	}
	_ = w.WriteMsg(m) // the asker may have gone
}

// apiHandler lists the objects. A watch begins with them where that is asked
// for, and stays silent then: nothing changes.
func apiHandler(o objects) http.Handler {
	mux := http.NewServeMux()
	list := func(path, apiVersion, kind string, items []any) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			out := json.NewEncoder(w)
			if r.URL.Query().Get("watch") == "" {
				_ = out.Encode(map[string]any{"apiVersion": apiVersion, "kind": kind + "List", "metadata": map[string]string{"resourceVersion": "1"}, "items": items})
				return
			}
			if r.URL.Query().Get("sendInitialEvents") == "true" {
				for _, item := range items {
					_ = out.Encode(map[string]any{"type": "ADDED", "object": item})
				}
				_ = out.Encode(map[string]any{"type": "BOOKMARK", "object": map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{
					"resourceVersion": "1", "annotations": map[string]string{metav1.InitialEventsAnnotationKey: "true"},
				}}})
			}
			if f, ok := w.(http.Flusher); ok {
				f.Flush()
			}
			<-r.Context().Done()
		})
	}
	list("/api/v1/namespaces", "v1", "Namespace", typed(o.namespaces, func(n *corev1.Namespace) { n.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"} }))
	list("/api/v1/services", "v1", "Service", typed(o.services, func(s *corev1.Service) { s.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Service"} }))
	list("/api/v1/pods", "v1", "Pod", nil)
	list("/api/v1/namespaces/kube-system/configmaps", "v1", "ConfigMap", nil)
	list("/apis/discovery.k8s.io/v1/endpointslices", "discovery.k8s.io/v1", "EndpointSlice", typed(o.slices, func(s *discoveryv1.EndpointSlice) {
		s.TypeMeta = metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"}
	}))
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"major":"1","minor":"36","gitVersion":"v1.36.3"}`)
	})
	return mux
}

func typed[T any](in []T, set func(*T)) []any {
	out := make([]any, 0, len(in))
	for i := range in {
		set(&in[i])
		out = append(out, &in[i])
	}
	return out
}
