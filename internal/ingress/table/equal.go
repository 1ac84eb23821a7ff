package table

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"reflect"

	"minato/internal/ingress/regex"
)

// same tells whether two values mean the same. Patterns are compared by their text, pools by their certificates.
func same(a, b any) bool { return sameValue(reflect.ValueOf(a), reflect.ValueOf(b)) }

func sameValue(a, b reflect.Value) bool {
	if a.IsValid() != b.IsValid() {
		return false
	}
	if !a.IsValid() {
		return true
	}
	if a.Type() != b.Type() {
		return false
	}
	switch a.Kind() {
	case reflect.Pointer:
		return samePointer(a, b)
	case reflect.Struct:
		for i := range a.NumField() {
			if !sameValue(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice, reflect.Array:
		if a.Kind() == reflect.Slice && a.IsNil() != b.IsNil() || a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !sameValue(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.Len() != b.Len() || a.IsNil() != b.IsNil() {
			return false
		}
		for it := a.MapRange(); it.Next(); {
			o := b.MapIndex(it.Key())
			if !o.IsValid() || !sameValue(it.Value(), o) {
				return false
			}
		}
		return true
	case reflect.Interface:
		return sameValue(a.Elem(), b.Elem())
	case reflect.Func, reflect.Chan:
		return a.IsNil() && b.IsNil()
	}
	// The rest are numbers, booleans and strings; Equal works for fields that aren't exported, too.
	return a.Equal(b)
}

func samePointer(a, b reflect.Value) bool {
	if a.Pointer() == b.Pointer() {
		return true
	}
	if a.IsNil() || b.IsNil() {
		return false
	}
	if !a.CanInterface() || !b.CanInterface() {
		return sameValue(a.Elem(), b.Elem())
	}
	switch x := a.Interface().(type) {
	case *regex.Regexp:
		return x.String() == b.Interface().(*regex.Regexp).String()
	case *x509.CertPool:
		return x.Equal(b.Interface().(*x509.CertPool))
	case *x509.RevocationList:
		return bytes.Equal(x.Raw, b.Interface().(*x509.RevocationList).Raw)
	case *x509.Certificate:
		return x.Equal(b.Interface().(*x509.Certificate))
	case *tls.Certificate:
		y := b.Interface().(*tls.Certificate)
		return sameValue(reflect.ValueOf(x.Certificate), reflect.ValueOf(y.Certificate)) && sameValue(reflect.ValueOf(x.OCSPStaple), reflect.ValueOf(y.OCSPStaple))
	}
	return sameValue(a.Elem(), b.Elem())
}
