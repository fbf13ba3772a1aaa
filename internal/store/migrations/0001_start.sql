-- Types are portable: bigint keys and Unix milliseconds, text, blobs, JSON as
-- text. Keys of time-ordered tables begin with their time (engine.Key).

create table tenants (
	id          integer primary key,
	user_id     text not null,
	current_key text not null,
	next_key    text not null
);

create table tokens (
	hash       blob primary key,
	tenant     bigint not null,
	created_at bigint not null
) without rowid;

-- What a settlement changes keeps its width where it can (states are never 0 or
-- 1, which SQLite stores in no bytes; due stays set), so that SQLite overwrites
-- the row in place; the body stands last and is not touched.
create table messages (
	seq         integer primary key,
	rnd         bigint not null,
	tenant      bigint not null,
	state       bigint not null,
	kind        bigint not null,
	due         bigint not null,
	not_before  bigint not null,
	retried     bigint not null,
	max_retries bigint not null,
	run         bigint not null,
	log_index   bigint not null,
	method      text not null,
	url         text not null,
	caller_ip   text not null,
	header      text not null,
	settings    text not null,
	body        blob
);
-- SQLite ends every index with the key; named, it would be there twice.
create index messages_due on messages (due) where state <= 3;

create table settlements (
	seq        integer primary key,
	tenant     bigint not null,
	message    bigint not null,
	result     bigint not null,
	retried    bigint not null,
	started_at bigint not null,
	ended_at   bigint not null,
	next_due   bigint not null,
	status     bigint not null,
	error      text not null,
	header     text not null,
	body       blob
);
create index settlements_message on settlements (message);

create table dlq (
	seq     integer primary key,
	tenant  bigint not null,
	message bigint not null,
	run     bigint not null,
	status  bigint not null,
	header  text not null,
	body    blob
);
create index dlq_message on dlq (message);

create table deduplications (
	tenant     bigint not null,
	hash       blob not null,
	seq        bigint not null,
	rnd        bigint not null,
	expires_at bigint not null,
	primary key (tenant, hash)
) without rowid;
create index deduplications_expiry on deduplications (expires_at);

-- closed is 0 while a run is active, then its seq: the unique index lets an id
-- be used again, but by one active run at a time. It does not begin with the
-- tenant, or SQLite would use it to list a tenant's runs, and sort them all.
create table runs (
	seq          integer primary key,
	tenant       bigint not null,
	id           text not null,
	closed       bigint not null,
	url          text not null,
	state        bigint not null,
	ended_at     bigint not null,
	init_rnd     bigint not null,
	log_len      bigint not null,
	max_step     bigint not null,
	caller_ip    text not null,
	dlq          bigint not null,
	failure      bigint not null,
	failure_call bigint not null,
	header       text not null,
	settings     text not null,
	response     blob
);
create unique index runs_id on runs (id, tenant, closed);
create index runs_active on runs (seq) where state = 1;

create table run_log (
	run         bigint not null,
	idx         bigint not null,
	seq         bigint not null,
	rnd         bigint not null,
	call_type   text not null,
	step_id     bigint not null,
	target_step bigint not null,
	body        blob,
	primary key (run, idx)
) without rowid;
