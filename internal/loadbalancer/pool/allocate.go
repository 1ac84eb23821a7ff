package pool

import (
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/loadbalancer/config"
)

// Allocate decides which addresses each Service gets. The order of neither argument matters; Services have distinct keys.
func Allocate(pools []config.Pool, services []Service) map[types.NamespacedName]Decision {
	panic("in work")
}
