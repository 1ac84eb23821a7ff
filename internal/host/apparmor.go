package host

import (
	"os"
	"strings"
)

// AppArmor tells whether the kernel enforces AppArmor's profiles.
func AppArmor() bool {
	data, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	return err == nil && strings.HasPrefix(string(data), "Y")
}
