package image

import (
	"fmt"
	"runtime/debug"
)

// panicError is a panic that was caught: an image from outside must not end the
// process, whatever is wrong with it.
type panicError struct {
	value any
	stack string
}

func (e *panicError) Error() string { return fmt.Sprintf("internal error: panic: %v", e.value) }

// recoverAs turns a panic of the function that defers it into its error.
func recoverAs(err *error) {
	if value := recover(); value != nil {
		*err = &panicError{value: value, stack: string(debug.Stack())}
	}
}
