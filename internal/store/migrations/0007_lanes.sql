-- Messages go through lanes: a queue, then a key of flow control, each by its
-- seq; 0 is none. lane is where a message waits while its state is 7, and is
-- left as it is after that: the row keeps its width.
alter table messages add column queue bigint not null default 0;
alter table messages add column flow bigint not null default 0;
alter table messages add column lane bigint not null default 0;

-- What is due is asked for tenant by tenant, so that none waits for another's.
drop index messages_due;
create index messages_due on messages (tenant, due) where state <= 3;
create index messages_waiting on messages (tenant, lane, due) where state = 7;

create table queues (
	seq         integer primary key,
	tenant      bigint not null,
	name        text not null,
	parallelism bigint not null,
	paused      bigint not null,
	active      bigint not null,
	updated_at  bigint not null
);
create unique index queues_name on queues (tenant, name);

-- hash is of the key, which is free text and may be a secret.
create table flow_keys (
	seq          integer primary key,
	tenant       bigint not null,
	hash         blob not null,
	flow_key     text not null,
	parallelism  bigint not null,
	rate         bigint not null,
	period       bigint not null,
	rate_count   bigint not null,
	window_start bigint not null,
	paused       bigint not null,
	pinned       bigint not null,
	active       bigint not null,
	used_at      bigint not null,
	sealed       blob
);
create unique index flow_keys_hash on flow_keys (tenant, hash);
create index flow_keys_used on flow_keys (used_at); -- which is seldom written

-- Who is in a lane. In a queue's, holds counts what has to end before the next
-- message may come: the message itself and its callbacks.
create table slots (
	lane    bigint not null,
	message bigint not null,
	holds   bigint not null,
	primary key (lane, message)
) without rowid;
