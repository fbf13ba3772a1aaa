package sqlreplay_test

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	_ "modernc.org/sqlite"

	"github.com/signposthq/signpost/receiver"
	"github.com/signposthq/signpost/receiver/sqlreplay"
)

func Example() {
	db, err := sql.Open("sqlite", "file::memory:?_pragma=busy_timeout(5000)")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // a database in memory is its connection's

	cache, err := sqlreplay.New(db, sqlreplay.SQLite, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := cache.CreateTable(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	rc, err := receiver.New(receiver.Options{BaseURL: "https://app.example.com", CurrentSigningKey: "sig_an_example_of_a_current_key0", Replay: cache})
	if err != nil {
		fmt.Println(err)
		return
	}
	const url = "https://app.example.com/hook"
	token, err := receiver.Sign("sig_an_example_of_a_current_key0", receiver.SignOptions{URL: url, Time: time.Now()})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 2 {
		_, err := rc.Verify(receiver.Request{Signature: token, URL: url})
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// request replayed: its id was seen before
}
