-- What a token is good for (engine.Token). Those that are there already are good
-- for everything. Scopes are separated by commas.
alter table tokens add column name text not null default '';
alter table tokens add column prefix text not null default '';
alter table tokens add column scopes text not null default 'publish,read,keys,admin';
alter table tokens add column url_prefix text not null default '';
alter table tokens add column expires_at bigint not null default 0;
alter table tokens add column last_used_at bigint not null default 0;
create index tokens_tenant on tokens (tenant, created_at);

-- Who changed what (engine.AuditEntry); state before and after is JSON, "" for none.
create table audit (
	seq          integer primary key,
	tenant       bigint not null,
	actor        text not null,
	actor_name   text not null,
	action       text not null,
	object       text not null,
	state_before text not null,
	state_after  text not null,
	caller_ip    text not null
);
