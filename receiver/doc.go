// Package receiver verifies and makes the Upstash-Signature header: the signed
// token that says who sent a request, to which URL, with which body, and when.
//
// Most endpoints need three lines:
//
//	rc, err := receiver.FromEnv(receiver.Options{BaseURL: "https://app.example.com"})
//	if err != nil { … }
//	http.Handle("/hook", rc.Middleware(hook))
//
// The token is the one of QStash (https://upstash.com/docs/qstash/features/security),
// a JWT (RFC 7519) in compact JWS form (RFC 7515).
//
// # What is accepted
//
// The header holds one compact JWS of at most 8 KiB, signed with HMAC-SHA-256
// under the current or the next signing key. No algorithm is negotiated and no
// hint in the token (kid, jwk, jku, x5u, …) chooses the key. More than one such
// header is a refusal.
//
//	part    field  rule
//	header  alg    exactly "HS256"; "EdDSA" if there are public keys
//	        kid    ignored; required if there are public keys, see below
//	        typ    absent, "JWT", or a type that ends in "+jwt"
//	        crit   refused, whatever it holds
//	claims  iss    required, exactly "Upstash"
//	        sub    required, the URL the request was sent to (see below)
//	        exp    required, after now − ClockTolerance, at most 1 h after iat
//	               (after nbf when there is no iat)
//	        nbf    required, not after now + ClockTolerance; 0 is valid
//	        iat    optional, not after now + ClockTolerance
//	        jti    optional (Options.Replay: required, and not seen before)
//	        body   required, base64url SHA-256 of the body's bytes, '=' ignored
//	        hdr    optional, base64url SHA-256 of the control headers, compared
//	               if it is there (Options.RequireBinding: required)
//	        kind, run, att
//	               optional; what the request is about ([Kind]), its workflow
//	               run, and how often it was tried before
//
// Parts are unpadded base64url without a stray bit, header and claims are JSON
// objects without a repeated key at any depth, times are whole seconds since
// 1970. Anything else is [ErrMalformed]. Claims that are not listed are ignored.
//
// # Keys
//
// A shared key signs and verifies. Keep the next key beside the current one, and a
// rotation refuses nothing; [Receiver.SetKeys] follows it without a restart. Answers
// to verified requests of a Signpost server say which keys are held, by ids that do
// not tell them ([KeysHeader]), so that it knows before a rotation whether that would
// break this receiver.
//
// The keys that every development server has are an error, unless SIGNPOST_DEV=1
// (for [FromEnv]) or Options.Development asks for them; a receiver that has one
// takes requests from this machine only (see [IsLocal]).
//
// With public keys a receiver holds no secret. The token is then that of the header
// Upstash-Signature-Ed25519, which a Signpost server sends when it is told to: it
// says the same, signed with Ed25519 (RFC 8037), and its kid chooses among the keys
// in Options.PublicKeys or in the set that the server publishes ([KeySet]). The
// HS256 token is ignored then, even if shared keys are configured: if either
// token were enough, the public keys would add nothing.
//
// # Replays
//
// A token is valid for five minutes. Whoever sees a request on its way can send it
// again meanwhile, unless Options.Replay is set: each id (jti) is then accepted
// once. The server's retries have ids of their own and pass, also after a
// handler that failed or that never answered.
//
// A proxy that sends a request once more to another upstream repeats the id, and
// the second one is refused with 401, even where the first has failed. The server
// sees a failed attempt and tries again, with a new id, so that nothing is lost
// but time; switch such retries off all the same (nginx: proxy_next_upstream off).
// Receivers behind one address have to share the cache: see package sqlreplay.
//
// # Which URL is compared
//
// The request's URL is Options.BaseURL followed by the request target, byte for
// byte as it came. Without BaseURL it is the connection's scheme and the Host
// header, which is believed for loopback addresses only, since whoever sends a
// request chooses it; all three of Host, X-Forwarded-Proto and X-Forwarded-Host
// are believed when the peer is in Options.TrustedProxies. [URLCanonical], the default, compares two URLs in
// this form:
//
//	part       canonical form                              example
//	scheme     lower case; http and https only             HTTPS://a/       → https://a/
//	user info  refused                                     https://u@a/     → error
//	host       ASCII letters in lower case                 https://A.Example/ → https://a.example/
//	           IPv6 in its shortest form                   https://[0::1]/  → https://[::1]/
//	           anything but letters, digits, "-._~" and
//	           bytes beyond ASCII is refused               https://a,b/     → error
//	port       without leading zeros; the default port
//	           and an empty one are dropped                https://a:443/   → https://a/
//	path       empty becomes "/"                           https://a        → https://a/
//	           "." and ".." segments are removed           https://a/b/../c → https://a/c
//	           ".." in a request is refused unless the
//	           token's URL has the path alike
//	           an encoded letter, digit or "-._~" is
//	           decoded, other encodings get upper case     https://a/%7e%2f → https://a/~%2F
//	           bytes that no path may hold are encoded     https://a/é      → https://a/%C3%A9
//	           a '%' without two hex digits is refused     https://a/%zz    → error
//	           "//", a trailing "/" and letter case stay   https://a//B/    → https://a//B/
//	query      every byte stays, in its order, "?" too     https://a/?b&a=  → https://a/?b&a=
//	fragment   dropped from the token's URL, since it is
//	           never sent; refused in the request's        https://a/#x     → https://a/
//	control    refused anywhere                            https://a/\n     → error
//
// International host names are compared as spelled: the standard library has no
// IDNA mapping, and an incomplete one could make two different hosts equal. As
// HTTP clients send the ASCII form (xn--…), publish to that form, or spell
// BaseURL exactly as the destination is spelled.
//
// # Beside tokens
//
// [SignStandardWebhook] makes the headers of Standard Webhooks, for receivers
// in languages that have a library for these. [Diagnose] says why a request was
// refused. The package imports the standard library only.
package receiver
