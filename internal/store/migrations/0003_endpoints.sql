-- What receivers have told of the signing keys they hold (engine.Endpoint).
-- hash is of the URL, which may be too long for an index.
create table endpoints (
	tenant       bigint not null,
	hash         blob not null,
	url          text not null,
	seen_at      bigint not null,
	echo         text not null,
	verified_key text not null,
	verified_at  bigint not null,
	awaited_key  text not null,
	streak       bigint not null,
	lacked_at    bigint not null,
	unverified   bigint not null,
	primary key (tenant, hash)
) without rowid;

alter table tenants add column rotated_at bigint not null default 0;
