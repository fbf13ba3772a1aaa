package signpost

import "github.com/signposthq/signpost/internal/engine"

// DevUsers are the users every development server has, with the credentials
// that official SDKs know too: they adopt such a server on port 8080 when
// QSTASH_DEV is set. The first is the default.
var DevUsers = [...]Credentials{
	{
		UserID:            "defaultUser",
		Token:             "eyJVc2VySUQiOiJkZWZhdWx0VXNlciIsIlBhc3N3b3JkIjoiZGVmYXVsdFBhc3N3b3JkIn0=",
		CurrentSigningKey: "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r",
		NextSigningKey:    "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs",
	}, {
		UserID:            "testUser1",
		Token:             "eyJVc2VySUQiOiJ0ZXN0VXNlcjEiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
		CurrentSigningKey: "sig_7GVPjvuwsfqF65iC8fSrs1dfYruM",
		NextSigningKey:    "sig_5NoELc3EFnZn4DVS5bDs2Nk4b7Ua",
	}, {
		UserID:            "testUser2",
		Token:             "eyJVc2VySUQiOiJ0ZXN0VXNlcjIiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
		CurrentSigningKey: "sig_6jWGaWRxHsw4vMSPJprXadyvrybF",
		NextSigningKey:    "sig_7qHbvhmahe5GwfePDiS5Lg3pi6Qx",
	}, {
		UserID:            "testUser3",
		Token:             "eyJVc2VySUQiOiJ0ZXN0VXNlcjMiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
		CurrentSigningKey: "sig_5T8FcSsynBjn9mMLBsXhpacRovJf",
		NextSigningKey:    "sig_7GFR4YaDshFcqsxWRZpRB161jguD",
	},
}

func (c Credentials) row() engine.Credentials {
	return engine.Credentials{UserID: c.UserID, Token: c.Token, CurrentKey: c.CurrentSigningKey, NextKey: c.NextSigningKey}
}
