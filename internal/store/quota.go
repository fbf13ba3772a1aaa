package store

func (t *tx) MessagesOn(tenant, day int64) (int64, error) {
	return t.number(`select messages from message_days where tenant = $1 and day = $2`+t.forUpdate, tenant, day)
}

func (t *tx) PutMessagesOn(tenant, day, messages int64) error {
	_, err := t.exec(`
		insert into message_days (tenant, day, messages) values ($1, $2, $3)
		on conflict (tenant, day) do update set messages = excluded.messages`, tenant, day, messages)
	return err
}

func (t *tx) PurgeMessagesOn(before int64, limit int) (int, error) {
	n, err := t.exec(`
		delete from message_days where (tenant, day) in
		(select tenant, day from message_days where day < $1 order by tenant, day limit $2)`, before, limit)
	return int(n), err
}
