package pki

import (
	"fmt"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// AdminConfig is a kubeconfig for the administrator; server is the URL of the
// API server, name is used for cluster, user and context.
func (a *Authority) AdminConfig(server, name string) *clientcmdapi.Config {
	return a.clientConfig(server, name, a.Admin())
}

// Kubeconfig is AdminConfig as a file.
func (a *Authority) Kubeconfig(server, name string) ([]byte, error) {
	return encodeConfig(a.AdminConfig(server, name))
}

func (a *Authority) clientConfig(server, name string, pair Pair) *clientcmdapi.Config {
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters[name] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: a.CABundle()}
	cfg.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: pair.Cert, ClientKeyData: pair.Key}
	cfg.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	cfg.CurrentContext = name
	return cfg
}

func encodeConfig(cfg *clientcmdapi.Config) ([]byte, error) {
	data, err := clientcmd.Write(*cfg)
	if err != nil {
		return nil, fmt.Errorf("pki: encode kubeconfig: %w", err)
	}
	return data, nil
}
