package nginx

import (
	"testing"

	"minato/internal/ingress/table"
)

// A typical Ingress: at a start, each of thousands is read once.
func BenchmarkRead(b *testing.B) {
	ing := ingress("rewrite-target", "/$2", "proxy-body-size", "8m", "proxy-read-timeout", "3600", "ssl-redirect", "true", "enable-cors", "true", "auth-url", "http://auth.test/check")
	d, objects := testDefaults(), newCluster(b)
	b.ReportAllocs()
	for b.Loop() {
		Read(ing, table.ClassNginx, d, objects)
	}
}
