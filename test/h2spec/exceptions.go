package main

// exceptions are cases that fail, with why that is so.
func exceptions() map[string]string {
	const answered = "golang.org/x/net/http2 answers such a request with 400 and ends the stream, which RFC 9113, 8.1.1 allows; the suite wants a reset alone"
	return map[string]string{
		"http2/6.5.3: Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE": "golang.org/x/net/http2 takes a SETTINGS frame that has " +
			"a parameter twice for an attack and ends the connection, where the RFC has the last value apply; no client is known to send one",
		"http2/8.1.2.2: Sends a HEADERS frame that contains the connection-specific header field":                       answered,
		"http2/8.1.2.2: Sends a HEADERS frame that contains the TE header field with any value other than \"trailers\"": answered,
	}
}
