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

	"minato/internal/host"
)

// webhook NETNS ADDRESS DNSNAME: answers admission reviews there until the
// script ends, as DNSNAME: it denies objects whose name begins with "deny".
// Sets CABUNDLE to the certificate to trust, in base64.
func webhook(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: webhook NETNS ADDRESS DNSNAME")
	}
	cert, pemBytes, err := selfSigned(args[2])
	ts.Check(err)
	l, err := host.NamedNetns(args[0]).Listen(context.Background(), "tcp", args[1])
	ts.Check(err)
	srv := &http.Server{Handler: http.HandlerFunc(review), TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}}
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
