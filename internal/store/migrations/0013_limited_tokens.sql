-- What the tokens reach that made or changed a group; '': all URLs.
alter table url_groups add column url_prefix text not null default '';

-- The hash of the token that made a schedule, if it is limited to some URLs: the
-- schedule ends with it.
alter table schedules add column token blob;
create index schedules_token on schedules (token) where token is not null;
