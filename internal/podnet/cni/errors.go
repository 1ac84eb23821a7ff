package cni

import (
	"errors"
	"fmt"
)

// Codes of errors, of the CNI specification's section "Error".
const (
	codeVersion     = 1
	codeUnsupported = 2
	codeUnknown     = 3
	codeEnvironment = 4
	codeIO          = 5
	codeDecode      = 6
	codeConfig      = 7
	codeTryAgain    = 11
	// codeUnavailable is STATUS's: the plugin can't serve ADD.
	codeUnavailable = 50
	// codeFailed is the first of those that are a plugin's own.
	codeFailed = 100
)

// Error is an error as runtimes read it.
type Error struct {
	Code    int    `json:"code"`
	Msg     string `json:"msg"`
	Details string `json:"details,omitempty"`
}

// Error implements error.
func (e *Error) Error() string {
	if e.Details == "" {
		return e.Msg
	}
	return e.Msg + ": " + e.Details
}

func fail(code int, format string, args ...any) *Error {
	return &Error{Code: code, Msg: fmt.Sprintf(format, args...)}
}

// asError gives an error without a code one.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return fail(codeFailed, "%v", err)
}
