-- A schedule's next_at is 0 while it is paused. messages are the seqs of those
-- that were made last, a JSON array. What it sends stands as it was asked for:
-- it is read anew each time.
create table schedules (
	seq         integer primary key,
	tenant      bigint not null,
	id          text not null,
	paused      bigint not null,
	next_at     bigint not null,
	last_at     bigint not null,
	messages    text not null,
	destination text not null,
	header      text not null,
	settings    text not null,
	body        blob,
	sealed      blob
);
create unique index schedules_id on schedules (tenant, id);
create index schedules_next on schedules (next_at) where next_at > 0;
