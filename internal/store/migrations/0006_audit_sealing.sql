-- What was changed may name URLs and labels, which are sealed elsewhere.
alter table audit add column sealed blob;

-- Where all was sealed before, what the audit log has is still plain: step 6 is
-- its place among the tables.
update resealing set step = 6, key1 = 0, key2 = 0, plain = 1, ended_at = 0 where ended_at <> 0;
