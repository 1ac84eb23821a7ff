package h1

// ParseTarget fills in what a target says, for a request that another engine has read: Target, Form, Path, Query and
// Plain. Method is set already. The rules are those of a request line, but that only the origin form and, of OPTIONS, the
// asterisk are taken; ReasonNone is returned for a good one.
func (q *Request) ParseTarget(target []byte) Reason {
	if len(target) == 0 || target[0] != '/' && target[0] != '*' {
		return ReasonTarget
	}
	for _, c := range target {
		if targetClass[c] == targetEnd {
			return ReasonTarget
		}
	}
	return q.setTarget(target)
}

// ValidMethod tells whether a method is one that a request line may have.
func ValidMethod(name string) bool {
	for i := range len(name) {
		if !methodByte(name[i]) {
			return false
		}
	}
	return len(name) > 0 && len(name) <= maxMethod
}
