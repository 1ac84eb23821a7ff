package main

// exceptions are specs that fail, with why that is so.
func exceptions() map[string]string {
	return map[string]string{
		"[k8s.io] Image Manager public image with digest should be pulled and removed [Conformance] [Serial]": "the digest is that of an image " +
			"which only its registry has, and stand-ins have others; the tests of internal/runtime/image pull by digest",
		"[k8s.io] Security Context bucket runtime should support MaskedPaths": "it wants the words of the shell of a certain busybox, and " +
			"Debian's busybox needs no file to run ls; TestPathsOfTheSpec of internal/runtime/oci masks files",
	}
}
