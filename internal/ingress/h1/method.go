package h1

// Method is a method of RFC 9110, section 9, or of RFC 5789.
type Method uint8

// Methods. MethodOther is any that is not listed.
const (
	MethodOther Method = iota
	MethodGet
	MethodHead
	MethodPost
	MethodPut
	MethodPatch
	MethodDelete
	MethodOptions
	MethodConnect
	MethodTrace
)

// MethodOf returns the method with the name, whose case matters.
func MethodOf[T []byte | string](name T) Method {
	switch string(name) {
	case "GET":
		return MethodGet
	case "HEAD":
		return MethodHead
	case "POST":
		return MethodPost
	case "PUT":
		return MethodPut
	case "PATCH":
		return MethodPatch
	case "DELETE":
		return MethodDelete
	case "OPTIONS":
		return MethodOptions
	case "CONNECT":
		return MethodConnect
	case "TRACE":
		return MethodTrace
	}
	return MethodOther
}

// maxMethod bounds a method's length in bytes.
const maxMethod = 32

// methodByte tells whether c may be part of a method in a request line. nginx, too,
// takes nothing but capitals, hyphen and underscore: of methods that differ in case
// alone, some backends would take one for the other.
func methodByte(c byte) bool { return 'A' <= c && c <= 'Z' || c == '-' || c == '_' }
