package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/host"
)

// webhook NETNS ADDRESS DNSNAME: answers admission reviews there until the
// script ends, as DNSNAME: it denies objects whose name begins with "deny".
// Sets CABUNDLE to the certificate to trust, in base64.
func webhook(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: webhook NETNS ADDRESS DNSNAME")
	}
	serveTLS(ts, args[0], args[1], args[2], http.HandlerFunc(review))
}

// aggregated NETNS ADDRESS DNSNAME: is an API server for the one resource boats
// of sea.example.com/v1 there until the script ends, as DNSNAME. It has one
// boat, named after the user on whose behalf the API server asks, and answers
// 401 to clients without a certificate that an API server could have. Sets
// CABUNDLE.
func aggregated(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: aggregated NETNS ADDRESS DNSNAME")
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /apis/sea.example.com/v1", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, metav1.APIResourceList{
			TypeMeta:     metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"},
			GroupVersion: "sea.example.com/v1",
			APIResources: []metav1.APIResource{{Name: "boats", SingularName: "boat", Kind: "Boat", Verbs: metav1.Verbs{"list"}}},
		})
	})
	mux.HandleFunc("GET /apis/sea.example.com/v1/boats", func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) == 0 || r.Header.Get("X-Remote-User") == "" {
			http.Error(w, "only an API server may ask, for a user", http.StatusUnauthorized)
			return
		}
		writeJSON(w, metav1.PartialObjectMetadataList{
			TypeMeta: metav1.TypeMeta{Kind: "BoatList", APIVersion: "sea.example.com/v1"},
			Items: []metav1.PartialObjectMetadata{{
				TypeMeta:   metav1.TypeMeta{Kind: "Boat", APIVersion: "sea.example.com/v1"},
				ObjectMeta: metav1.ObjectMeta{Name: r.Header.Get("X-Remote-User"), UID: types.UID(r.TLS.PeerCertificates[0].Subject.CommonName)},
			}},
		})
	})
	serveTLS(ts, args[0], args[1], args[2], mux)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

// serveTLS serves in a network namespace until the script ends, and sets
// CABUNDLE to the certificate to trust.
func serveTLS(ts *testscript.TestScript, netns, address, name string, handler http.Handler) {
	cert, pemBytes, err := selfSigned(name)
	ts.Check(err)
	l, err := host.NamedNetns(netns).Listen(context.Background(), "tcp", address)
	ts.Check(err)
	srv := &http.Server{Handler: handler, TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{cert},
		ClientAuth:   tls.RequestClientCert,
	}}
	go srv.ServeTLS(l, "", "")
	ts.Defer(func() { srv.Close() })
	ts.Setenv("CABUNDLE", base64.StdEncoding.EncodeToString(pemBytes))
}

func review(w http.ResponseWriter, r *http.Request) {
	var in admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Request == nil {
		http.Error(w, "no admission review", http.StatusBadRequest)
		return
	}
	in.Response = &admissionv1.AdmissionResponse{UID: in.Request.UID, Allowed: !strings.HasPrefix(in.Request.Name, "deny")}
	if !in.Response.Allowed {
		in.Response.Result = &metav1.Status{Message: "the harbour master says no"}
	}
	in.Request = nil
	json.NewEncoder(w).Encode(in)
}

func selfSigned(name string) (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
