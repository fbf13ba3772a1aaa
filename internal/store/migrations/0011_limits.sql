-- limits are a tenant's own, as JSON; what is not in it is the server's.
alter table tenants add column limits text not null default '{}';

-- How many messages were added on a day (of UTC, since 1970), by tenants that
-- may add so many in one and no more.
create table message_days (
	tenant   bigint not null,
	day      bigint not null,
	messages bigint not null,
	primary key (tenant, day)
) without rowid;
