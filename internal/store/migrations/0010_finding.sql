-- What lists with filters find their rows by (engine/index.go). A segment is the
-- rows of a tenant in a range of keys, from first to last: seqs are their keys.
-- marks says, for each keyed hash of an attribute's value, at which places among
-- them the rows are that have it. Both are filled behind what is published, and
-- hold nothing that can't be made again of the rows themselves.
create table segments (
	space  bigint not null,
	tenant bigint not null,
	last   bigint not null,
	first  bigint not null,
	seqs   blob not null,
	primary key (space, tenant, last)
) without rowid;

create table marks (
	space  bigint not null,
	tenant bigint not null,
	last   bigint not null,
	mark   bigint not null,
	places blob not null,
	primary key (space, tenant, last, mark)
) without rowid;

-- How far that has come: one row. Everything that was there before comes first.
create table indexing (
	id      integer primary key,
	through bigint not null
);
insert into indexing (id, through) values (1, 0);

-- To keep a tenant's DLQ to its size.
create index dlq_tenant on dlq (tenant);

-- A run's state is no mark: it changes.
create index runs_state on runs (tenant, state);
drop index runs_active;
