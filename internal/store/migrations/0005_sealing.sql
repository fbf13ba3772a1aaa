-- A row whose sealed is null is plain. Else its values that may hold secrets are
-- in there, and the columns they would stand in are empty (seal.go). The column
-- is the last one, behind the body: as null it takes a byte.
alter table tenants add column sealed blob;
alter table messages add column sealed blob;
alter table settlements add column sealed blob;
alter table dlq add column sealed blob;
alter table runs add column sealed blob;
alter table run_log add column sealed blob;

-- The keys that rows are sealed with, each sealed itself with a master key.
-- uses is how often it may have been used by now.
create table data_keys (
	id         integer primary key,
	master     text not null,
	wrapped    blob not null,
	uses       bigint not null,
	created_at bigint not null
);

-- How far the rows have been sealed anew, or how that ended: one row or none.
-- step is the place of a table in the list of them all, key1 and key2 the last
-- row that was looked at; plain is not 0 where plain rows were found.
create table resealing (
	id         integer primary key,
	step       bigint not null,
	key1       bigint not null,
	key2       bigint not null,
	resealed   bigint not null,
	plain      bigint not null,
	started_at bigint not null,
	ended_at   bigint not null
);
