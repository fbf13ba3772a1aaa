package main

import "testing"

func TestShownURL(t *testing.T) {
	for url, want := range map[string]string{
		"https://a.example/b":                 "https://a.example/b",
		"https://a.example/b?token=x&b=?":     "https://a.example/b?…",
		"https://a.example?":                  "https://a.example?…",
		"https://user:pass@a.example/b@c?d@e": "https://…@a.example/b@c?…",
		"http://u@v@a.example":                "http://…@a.example",
		"https://a.example/@b":                "https://a.example/@b",
		"":                                    "",
	} {
		if got := shownURL(url); got != want {
			t.Errorf("%s is shown as %s, want %s", url, got, want)
		}
	}
}
