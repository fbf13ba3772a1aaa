-- What the tokens reach that made or changed a group; '': all URLs.
alter table url_groups add column url_prefix text not null default '';
