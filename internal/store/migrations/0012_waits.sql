-- Steps of runs that wait for what the server will write: an event, a call of a
-- webhook, the end of another run (kind 1, 2, 3). done is 0 while one waits,
-- then the seq of the message that brought the result, or -1 if the run ended
-- first. The row stays as long as the run does, to show it. event is a hash: the
-- id is free text and may be a secret.
create table waits (
	seq      integer primary key,
	tenant   bigint not null,
	run      bigint not null,
	step_id  bigint not null,
	kind     bigint not null,
	event    blob not null,
	deadline bigint not null,
	done     bigint not null,
	child    bigint not null,
	url      text not null,
	header   text not null,
	settings text not null,
	sealed   blob
);
create unique index waits_step on waits (run, step_id);
create index waits_event on waits (tenant, event) where done = 0;
create index waits_deadline on waits (deadline) where done = 0 and deadline > 0;
create index waits_child on waits (child) where child > 0;

-- Events that are kept: those for a run until it waits for them, oldest first;
-- those for all who wait (run 0) until all have been told. size is the body's.
create table notes (
	seq        integer primary key,
	tenant     bigint not null,
	run        bigint not null,
	event      blob not null,
	kind       bigint not null,
	size       bigint not null,
	event_id   text not null,
	url_prefix text not null,
	body       blob,
	sealed     blob
);
create index notes_event on notes (run, event);

-- Webhooks that runs have made: nobody else's calls are taken.
create table webhooks (
	run   bigint not null,
	event blob not null,
	primary key (run, event)
) without rowid;
