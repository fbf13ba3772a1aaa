package store_test

import (
	"fmt"
	"testing"

	"github.com/signposthq/signpost/internal/engine"
)

// A count is of one tenant and one day; days are forgotten from the oldest on.
func TestMessagesOn(t *testing.T) {
	forEachStore(t, func(t *testing.T, s engine.Store) {
		on := func(tenant, day int64) int64 {
			get := func(tx engine.Tx) (int64, error) { return tx.MessagesOn(tenant, day) }
			n := read(t, s, get)
			equal(t, fmt.Sprintf("tenant %d, day %d, in an update", tenant, day), inUpdate(t, s, get), n)
			return n
		}
		equal(t, "none", on(1, 10), 0)
		update(t, s, func(tx engine.Tx) error {
			for i, put := range [][3]int64{{1, 10, 5}, {1, 11, 6}, {2, 10, maxInt}, {1, 10, 7}} {
				if err := tx.PutMessagesOn(put[0], put[1], put[2]); err != nil {
					return fmt.Errorf("put %d: %w", i, err)
				}
			}
			return nil
		})
		equal(t, "written over", on(1, 10), 7)
		equal(t, "of another day", on(1, 11), 6)
		equal(t, "of another tenant", on(2, 10), maxInt)
		purge := func(before int64, limit int) int {
			return inUpdate(t, s, func(tx engine.Tx) (int, error) { return tx.PurgeMessagesOn(before, limit) })
		}
		equal(t, "purged, nothing so old", purge(10, 5), 0)
		equal(t, "purged, one at most", purge(11, 1), 1)
		equal(t, "purged, the rest", purge(11, 5), 1)
		equal(t, "after", []int64{on(1, 10), on(2, 10), on(1, 11)}, []int64{0, 0, 6})
	})
}
