package image

import "minato/internal/runtime/registry"

// recoverAs turns a panic of the function that defers it into its error: an image
// from outside must not end the process, whatever is wrong with it.
func recoverAs(err *error) {
	if value := recover(); value != nil {
		*err = registry.NewPanicError(value)
	}
}
