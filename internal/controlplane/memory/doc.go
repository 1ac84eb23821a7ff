// Package memory connects clients of this process to the API server without a
// socket: an http.RoundTripper that calls the server's handler directly, and
// the authenticator that recognises such requests.
//
// An identity travels in a request's context under a key only this package
// knows. A request that came over the network can't carry one, whatever
// headers it has, so the authenticator trusts nothing but that key.
//
// The package must not know what the handler serves, and must not start
// anything by itself. It may import apimachinery, apiserver's authentication
// types and client-go's rest.
package memory
