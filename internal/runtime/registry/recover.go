package registry

import (
	"fmt"
	"runtime/debug"
)

// PanicError is a panic that was caught: what comes from outside must not end the
// process, whatever is wrong with it.
type PanicError struct {
	// Value is what was passed to panic, Stack where that was.
	Value any
	Stack string
}

// Error implements error.
func (e *PanicError) Error() string { return fmt.Sprintf("internal error: panic: %v", e.Value) }

// NewPanicError is the error for a panic that was just recovered from.
func NewPanicError(value any) *PanicError {
	return &PanicError{Value: value, Stack: string(debug.Stack())}
}

// recoverAs turns a panic of the function that defers it into its error.
func recoverAs(err *error) {
	if value := recover(); value != nil {
		*err = NewPanicError(value)
	}
}
