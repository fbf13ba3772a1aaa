-- How much is kept for a run is asked with every event that is kept: read from
-- this alone, and not from the rows, which are as large as the events.
create index notes_size on notes (run, size);
