package engine

import (
	"slices"
	"testing"
)

// What is written as a list is read as it was.
func TestAscending(t *testing.T) {
	for _, list := range [][]int64{{}, {0}, {0, 1, 2, 300}, {5, maxSeq}, {1 << 40, 1<<40 + 1}} {
		got := []int64{}
		err := ascending(list).each(func(v int64) bool { got = append(got, v); return true })
		if err != nil || !slices.Equal(got, list) {
			t.Errorf("%v became %v, %v", list, got, err)
		}
	}
}

// FuzzAscending: what is damaged is an error, or else a list in order.
func FuzzAscending(f *testing.F) {
	f.Add([]byte(ascending([]int64{1, 2, 1 << 50})))
	f.Add([]byte{0x80})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var list []int64
		err := Ascending(b).each(func(v int64) bool { list = append(list, v); return true })
		if err == nil && !slices.IsSorted(list) {
			t.Errorf("%x gave %v", b, list)
		}
		if _, err := (placeSet{}).add(b); err == nil && len(list) == 0 && len(b) > 0 {
			t.Errorf("%x is an empty set", b)
		}
	})
}
