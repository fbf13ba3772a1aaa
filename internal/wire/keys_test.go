package wire

import (
	"slices"
	"strings"
	"testing"
)

const (
	idA = "3f0c61a2b7d4"
	idB = "91ab00ff13c2"
	kid = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
)

func TestParseKeyEcho(t *testing.T) {
	tests := map[string]struct {
		in       []string
		verified string // "" : refused
		held     []string
	}{
		"both keys":           {[]string{"verified=" + idA + "; current=" + idA + "; next=" + idB}, idA, []string{idA, idB}},
		"verified by next":    {[]string{"verified=" + idB + ";current=" + idA + ";next=" + idB}, idB, []string{idA, idB}},
		"one key":             {[]string{"verified=" + idA + "; current=" + idA}, idA, []string{idA}},
		"in another order":    {[]string{" next=" + idB + " ;\tverified=" + idA}, idA, []string{idB, idA}},
		"public keys":         {[]string{"verified=" + kid + "; held=" + idB + "; held=" + kid + "; held=" + idB}, kid, []string{idB, kid}},
		"with a name to come": {[]string{"verified=" + idA + "; window=5m"}, idA, []string{idA}},

		"nothing":           {nil, "", nil},
		"empty":             {[]string{""}, "", nil},
		"verified unsaid":   {[]string{"current=" + idA + "; next=" + idB}, "", nil},
		"two headers":       {[]string{"verified=" + idA, "verified=" + idB}, "", nil},
		"verified twice":    {[]string{"verified=" + idA + "; verified=" + idB}, "", nil},
		"no id":             {[]string{"verified=" + idA + "; next=a/b"}, "", nil},
		"id too long":       {[]string{"verified=" + strings.Repeat("a", maxKeyID+1)}, "", nil},
		"no value":          {[]string{"verified=; current=" + idA}, "", nil},
		"no name":           {[]string{"verified=" + idA + "; =x"}, "", nil},
		"name of odd bytes": {[]string{"verified=" + idA + "; \xff\x00=x"}, "", nil},
		"no equals sign":    {[]string{"verified=" + idA + "; next"}, "", nil},
		"stray semicolon":   {[]string{"verified=" + idA + ";"}, "", nil},
		"too long":          {[]string{"verified=" + idA + strings.Repeat("; held="+idB, 120)}, "", nil},
		"joined by a proxy": {[]string{"verified=" + idA + ", verified=" + idB}, "", nil},
	}
	for name, tt := range tests {
		got, ok := ParseKeyEcho(tt.in)
		if ok != (tt.verified != "") || got.Verified != tt.verified {
			t.Errorf("%s: verified %q, %v", name, got.Verified, ok)
			continue
		}
		if held := got.Held(); !slices.Equal(held, tt.held) {
			t.Errorf("%s: held %v", name, held)
		}
		for _, id := range []string{idA, idB, kid, ""} {
			if got.Holds(id) != slices.Contains(tt.held, id) {
				t.Errorf("%s: holds %q", name, id)
			}
		}
	}
}

func TestNewKeyEcho(t *testing.T) {
	e := NewKeyEcho(idB, idA, idB)
	if got, ok := ParseKeyEcho([]string{e.String()}); !ok || got != e {
		t.Errorf("%q reads as %+v, %v", e, got, ok)
	}
}

// Every delivery's answer may bring one.
func TestParseKeyEchoAllocatesNothing(t *testing.T) {
	values := []string{"verified=" + idA + "; current=" + idA + "; next=" + idB}
	n := testing.AllocsPerRun(100, func() {
		if e, ok := ParseKeyEcho(values); !ok || !e.Holds(idB) {
			t.Error("not held")
		}
	})
	if n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParseKeyEcho(f *testing.F) {
	f.Add("verified=" + idA + "; current=" + idA + "; next=" + idB)
	f.Add("verified=" + kid + "; held=" + kid + ";x=1")
	f.Add(";;=")
	f.Fuzz(func(t *testing.T, value string) {
		e, ok := ParseKeyEcho([]string{value})
		if !ok {
			return
		}
		if checkText(e.String()) != nil {
			t.Errorf("%q cannot be stored", value)
		}
		held := e.Held()
		for _, id := range held {
			if !isKeyID(id) || !e.Holds(id) {
				t.Errorf("%q gave the id %q", value, id)
			}
		}
		if !slices.Contains(held, e.Verified) {
			t.Errorf("%q: the key that verified is not held", value)
		}
		again, ok := ParseKeyEcho([]string{NewKeyEcho(e.Verified, held...).String()})
		if !ok && len(value) < maxKeyEcho/2 || ok && !slices.Contains(again.Held(), e.Verified) {
			t.Errorf("%q, written again, reads back as %+v", value, again)
		}
	})
}
