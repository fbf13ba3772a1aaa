-- endpoints and header are JSON. They hold URLs and what is forwarded to them.
create table url_groups (
	seq        integer primary key,
	tenant     bigint not null,
	name       text not null,
	endpoints  text not null,
	header     text not null,
	updated_at bigint not null,
	sealed     blob
);
create unique index url_groups_name on url_groups (tenant, name);
