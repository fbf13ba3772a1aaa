-- settings is what a tenant chose, secrets what it never sees (engine.Tenant).
alter table tenants add column settings text not null default '';
alter table tenants add column secrets text not null default '';
