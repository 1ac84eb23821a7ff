package api

import (
	"encoding/json"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
)

// configz answers with the node's configuration in the kubelet's form
// (kubelet.config.k8s.io/v1beta1 KubeletConfiguration, below "kubeletconfig").
// Fields that nothing here acts on are absent.
func (s *Server) configz(w http.ResponseWriter, _ *http.Request) {
	fields, err := s.Configuration()
	if err != nil {
		fail(w, err)
		return
	}
	writeJSON(w, map[string]any{"kubeletconfig": fields})
}

// Configuration is what configz answers with.
func (s *Server) Configuration() (map[string]any, error) {
	var config kubeletv1beta1.KubeletConfiguration
	if s.cfg.Configuration != nil {
		config = s.cfg.Configuration()
	}
	s.describe(&config)
	data, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, err
	}
	return withoutZeros(fields), nil
}

// describe sets the fields that say how this server works.
func (s *Server) describe(c *kubeletv1beta1.KubeletConfiguration) {
	yes, no, logFiles := true, false, s.cfg.LogRoot != ""
	c.TypeMeta = metav1.TypeMeta{Kind: "KubeletConfiguration", APIVersion: kubeletv1beta1.SchemeGroupVersion.String()}
	c.EnableServer = &yes
	c.TLSMinVersion = "VersionTLS12"
	c.Authentication.Anonymous.Enabled = &no
	c.Authentication.Webhook = kubeletv1beta1.KubeletWebhookAuthentication{Enabled: &yes, CacheTTL: metav1.Duration{Duration: tokenTTL}}
	c.Authorization.Mode = kubeletv1beta1.KubeletAuthorizationModeWebhook
	c.Authorization.Webhook.CacheAuthorizedTTL.Duration = allowedTTL
	c.Authorization.Webhook.CacheUnauthorizedTTL.Duration = deniedTTL
	c.StreamingConnectionIdleTimeout.Duration = idleTimeout
	c.EnableDebuggingHandlers = &yes
	c.EnableProfilingHandler = &no
	c.EnableDebugFlagsHandler = &no
	c.EnableSystemLogHandler = &logFiles
	c.EnableSystemLogQuery = &no
}

// withoutZeros drops what the type writes although it is not set: durations,
// numbers and structures that have no omitted form. A boolean that is false was
// set, because the type has pointers for these.
func withoutZeros(fields map[string]any) map[string]any {
	for key, value := range fields {
		switch v := value.(type) {
		case map[string]any:
			if len(withoutZeros(v)) == 0 {
				delete(fields, key)
			}
		case string:
			if v == "" || v == "0" || v == "0s" { // a quantity or a duration
				delete(fields, key)
			}
		case float64:
			if v == 0 {
				delete(fields, key)
			}
		case nil:
			delete(fields, key)
		}
	}
	return fields
}
