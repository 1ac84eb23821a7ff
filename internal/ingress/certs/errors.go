package certs

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Error says what is wrong with a Secret.
type Error struct {
	Secret types.NamespacedName
	// Key is the key of the Secret's data that is missing or wrong.
	Key string
	// Missing is whether the key isn't there.
	Missing bool
	// Problem is a sentence without the Secret's name, with the remedy.
	Problem string
}

func (e *Error) Error() string {
	return fmt.Sprintf("Secret %s, key %s: %s", e.Secret, e.Key, e.Problem)
}

func bad(s *corev1.Secret, key, format string, args ...any) *Error {
	return &Error{Secret: nameOf(s), Key: key, Problem: fmt.Sprintf(format, args...)}
}

// data returns the value of a key, which must be there.
func data(s *corev1.Secret, key string) ([]byte, error) {
	if v := s.Data[key]; len(v) > 0 {
		return v, nil
	}
	e := bad(s, key, "it is missing or empty; add it")
	e.Missing = true
	return nil, e
}

func nameOf(s *corev1.Secret) types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
}
