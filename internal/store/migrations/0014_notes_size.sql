-- How much of a kind is kept for a run is asked with all that is kept: read from
-- this alone, and not from the rows, which are as large as the events.
create index notes_size on notes (run, kind, size);
