-- The body of an entry that another run's log has: that run, and the place in its
-- log. A run that goes on with one that failed has that one's log without a copy
-- of it. 0: the body is here.
alter table run_log add column source_run bigint not null default 0;
alter table run_log add column source_idx bigint not null default 0;

-- The run that went on with this one, 0 for none: as long as that is there, this
-- one stays.
alter table runs add column successor bigint not null default 0;
