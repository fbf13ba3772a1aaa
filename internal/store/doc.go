// Package store keeps the engine's rows in SQLite or PostgreSQL.
//
// It reads and writes rows and decides nothing: one file per noun, one SQL
// text for both databases wherever they agree. What differs is in the dialect.
//
// It imports only internal/engine and internal/wire of ours.
package store
