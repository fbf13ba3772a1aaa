package pgtest

import "errors"

// cluster is a server this process started. On Windows there is none: tests
// use the one in the environment.
type cluster struct{ dsn string }

func startCluster(string) (*cluster, error) {
	return nil, errors.New("not started on Windows")
}

func (c *cluster) stop() error { return nil }
